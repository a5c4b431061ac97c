"""The command line: `python -m bench VERB [KEY=VALUE ...]`."""

import errno
import importlib
import inspect
import os
import signal
import sys
import traceback
from types import FrameType

from bench.errors import UserError, near_misses

VERBS = {
    "run": "run what is missing of an experiment, print its table: run criterion=[taylor,snip] sparsity=[0.8,0.9]",
    "tables": "write the tables and figures of the last plan: tables [experiment=NAME] [out=DIR]",
    "page": "write one HTML file of all results of a folder, to open and share: page [experiment=NAME] [out=DIR]",
    "latency": "time finished cells beside dense: latency experiment=NAME batch=[1,32] engine=[eager,compile,onnx]",
    "oracle": "remove each filter of a trained net, correlate the criteria with it: oracle experiment=cifar10_oracle",
    "compare": "set an experiment's results beside its paper's figures: compare liu2019 [out=DIR]",
    "list": "show the criteria: name, formula, defaults, source; list --matrix: what goes with what, and why not",
    "check": "run the contract suite on a criterion: check path/to/mine.py",
    "verify": "audit results: ids, seeds, plans, masks, numbers, test results read again: verify [DIR] [recompute=N]",
    "estimate": "say before a run how many cells, epochs, hours and GB it will take: estimate experiment=NAME",
    "publish": "copy the last plan's records, tables and figures to results/published: publish NAME",
    "gpu-check": "check a CUDA card against the CPU, with timings: gpu-check [minutes=20] [dataset.root=DIR]",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit status: 0 done, 1 something failed, 2 a mistake in the call, 130 stopped."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "debug=true" in [argument.lower() for argument in arguments]
    # Also where a shell has set SIGINT to be ignored, as it does for what it starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        return _verb(arguments)
    except KeyboardInterrupt:
        return _fail("stopped; what is done is kept, run again to go on", 130)
    except UserError as error:
        if debug:
            traceback.print_exc()
        return _fail(str(error), 2)
    except BrokenPipeError:
        # The reader of our output (head, less) has left: nothing to say, and nobody to say it to.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except OSError as error:
        if debug:
            traceback.print_exc()
        where = f": {error.filename}" if error.filename else ""
        hint = "; make room and run again" if error.errno == errno.ENOSPC else ""
        return _fail(f"{error.strerror or error}{where}{hint}", 1)


def _verb(arguments: list[str]) -> int:
    verb, *rest = arguments or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(_help())
        return 0
    if verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}; {near_misses(verb, VERBS)}")
    # A verb's module is imported when it is asked for, so that help and list stay quick.
    main = importlib.import_module(f"bench.verbs.{verb.replace('-', '_')}").main
    if {"--help", "-h"} & {*rest}:
        print(f"{verb}: {VERBS[verb]}\n\n{inspect.getdoc(main)}\n\nKeys of a run and their defaults: conf/config.yaml.")
        return 0
    return int(main(rest))


def _help() -> str:
    verbs = "\n".join(f"  {verb:11}{text}" for verb, text in VERBS.items())
    return (
        "A benchmark of pruning criteria under one shared harness.\n\nusage: python -m bench VERB [KEY=VALUE ...]\n\n"
        f"{verbs}\n\nKeys and their defaults: conf/config.yaml. A list on an axis is a sweep."
    )


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(line: str, status: int) -> int:
    print(f"error: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
