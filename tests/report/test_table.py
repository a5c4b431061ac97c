from bench.report.table import Column, Row, Table


def table(*spans: str) -> Table:
    """A stub and a column for each span; the second row says something in the last column only."""
    columns = (Column("name"), *(Column(f"c{number}", span) for number, span in enumerate(spans)))
    full = Row(("full", *map(str, range(len(spans)))), frozenset({1, len(spans)}))
    last = Row(("last", *[""] * (len(spans) - 1), "x"), rule=True)
    return Table("subject", "", "", columns, (full, last), ("One seed.",))


def headings(pieces: list[Table]) -> list[str]:
    return [" ".join(f"{column.span}{column.name}" for column in piece.columns[1:]) for piece in pieces]


def test_what_fits_stays_whole() -> None:
    whole = table("a", "a", "b")
    assert whole.folded([10, 5, 5, 5], 25) == [whole]


def test_it_is_folded_between_spans_and_each_piece_has_the_stub() -> None:
    one, two = table("a", "a", "b", "b").folded([10, 5, 5, 5, 5], 29)
    assert headings([one, two]) == ["ac0 ac1", "bc2 bc3"]
    assert [row.cells for row in one.rows] == [("full", "0", "1")]
    assert [row.cells for row in two.rows] == [("full", "2", "3"), ("last", "", "x")]
    assert (one.rows[0].best, two.rows[0].best) == ({1}, {2})


def test_the_pieces_are_about_as_wide() -> None:
    assert headings(table(*[""] * 7).folded([10, *[10] * 7], 60)) == ["c0 c1 c2 c3", "c4 c5 c6"]


def test_a_span_without_room_is_cut_and_its_heading_repeated() -> None:
    pieces = table("a", "a", "a").folded([10, 20, 20, 20], 40)
    assert headings(pieces) == ["ac0", "ac1", "ac2"]


def test_a_column_without_room_stands_alone() -> None:
    assert headings(table("", "").folded([10, 500, 500], 40)) == ["c0", "c1"]


def test_rows_are_shared_out() -> None:
    rows = tuple(Row((str(number),)) for number in range(7))
    long = Table("", "", "", (Column("name"),), rows, ())
    assert [len(piece.rows) for piece in long.paged(3)] == [3, 3, 1]
    assert [len(piece.rows) for piece in long.paged(6)] == [4, 3]
    assert long.paged(7) == [long]
    assert sum((piece.rows for piece in long.paged(2)), ()) == rows
