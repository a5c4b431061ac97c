"""`tables`: the tables and figures of one plan, or of all that is published, from records."""

from bench.errors import UserError
from bench.report import frame, tables
from bench.report.places import published, table_folder
from bench.report.write import folder_files, report_files, write
from bench.verbs.where import where


def main(arguments: list[str]) -> int:
    """Write the last plan's report (of one experiment, where named), print its table and where the files are.

    A published folder is its own report; of a folder of these all reports are made again.
    """
    root, experiment = where("tables", arguments)
    if folders := published(root):
        if experiment:
            raise UserError(f"{root} is published: its reports are made again all together; leave experiment out")
        for folder in folders:
            print(*write(folder_files(folder), folder), sep="\n")
        return 0
    results = frame.tabulate(root, experiment)
    paths = write(report_files(root, results), table_folder(root, results))
    print(tables.text(results))
    print(*paths, sep="\n")
    return 0
