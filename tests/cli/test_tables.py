"""How a table is laid out in a terminal."""

import pytest

from nirs4all_store.cli.tables import broken_at, lines_of, natural_widths, widths_within

# What `top`, `pipelines` and `datasets` print of the fermentation spectra; the cells of True are never broken.
TOP = {
    "#": (False, "10*", "1*"),
    "chain_id": (True, "4f7fc393", "8f076135"),
    "model": (False, "PLSRegression (n_components=10, scale=False)", "Ridge (alpha=0.1)"),
    "preprocessings": (False, "StandardScaler", ""),
    "RMSECV ±folds": (False, "8.398 ±3.2", "8.423 ±3.2"),
    "RMSEC": (True, "0.0002293", "0.4721"),
    "R²": (True, "0.5209", "0.519"),
    "RPD": (True, "1.477", "1.48"),
}
PIPELINES = {
    "pipeline_id": (True, "9bd8e64a", "a1fdd7bf"),
    "name": (False, "StandardScaler > FunctionTransformer > PLSRegression(n_components=3)", "SVR()"),
    "status": (False, "failed", "completed"),
    "best_val": (True, "", "8.398"),
    "duration_ms": (True, "", "1065"),
    "error": (False, "ValueError: Input X contains NaN.", ""),
}
DATASETS = {
    "dataset_id": (True, "a1b9d142"),
    "name": (False, "ferm"),
    "targets": (False, "glucose"),
    "task_type": (False, "regression"),
    "n_samples": (True, "21"),
    "n_features": (True, "1047"),
    "origin": (False, "ferm.csv"),
    "created_at": (False, "2026-11-30 20:06"),
}
RUNS = {
    "run_id": (True, "819d3c1a"),
    "name": (False, "fermentation-one"),
    "status": (False, "completed"),
    "pipelines": (True, "13"),
    "failed": (True, "0"),
    "best": (False, "RMSECV 8.398"),
    "data": (False, "ferm"),
    "created_at": (False, "2026-11-30 20:06"),
    "took": (False, "1.8 s"),
}


def printed(table: dict[str, tuple[bool | str, ...]], width: int) -> str:
    whole = [bool(column[0]) for column in table.values()]
    rows = [[*table], *zip(*(map(str, column[1:]) for column in table.values()), strict=True)]
    return "\n".join(line for lines in lines_of(rows, whole, widths_within(width, rows, whole)) for line in lines)


@pytest.mark.parametrize("table", [TOP, PIPELINES, DATASETS, RUNS])
@pytest.mark.parametrize("width", [80, 140])
def test_a_table_was_wider_than_the_terminal_though_its_numbers_and_ids_are_not(
    table: dict[str, tuple[bool | str, ...]], width: int
) -> None:
    lines = printed(table, width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []
    # Every cell is there, if it may be broken in its parts.
    for title, (is_whole, *cells) in table.items():
        for cell in (title, *map(str, cells)):
            assert cell in printed(table, width) or (not is_whole or cell == title)


def test_the_ranking_of_a_plain_pls_is_broken_where_its_words_have_parts() -> None:
    assert (
        printed(TOP, 80)
        == """\
                                                RMSECV
#    chain_id  model            preprocessings  ±folds      RMSEC      R²    RPD
10*  4f7fc393  PLSRegression    StandardScaler  8.398   0.0002293  0.5209  1.477
               (n_                              ±3.2
               components=10,
               scale=False)
1*   8f076135  Ridge                            8.423      0.4721   0.519   1.48
               (alpha=0.1)                      ±3.2"""
    )


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("took 1.1 s", 8, ["took", "1.1 s"]),
        ("8.398 ±3.2 and more", 8, ["8.398", "±3.2 and", "more"]),
        ("8.4 ±3", 5, ["8.4", "±3"]),
        ("1 h 05 min", 6, ["1 h", "05 min"]),
        ("2026-11-30 20:06", 10, ["2026-11-30", "20:06"]),
        ("PLSRegression(n_components=10, scale=False)", 17, ["PLSRegression", "(n_components=10,", "scale=False)"]),
        (
            "PLSRegression (n_components=10, scale=False)",
            15,
            ["PLSRegression", "(n_", "components=10,", "scale=False)"],
        ),
        ("x(1,000, 2) y", 6, ["x", "(1,000", ", 2) y"]),
        ("abcdefgh ij", 3, ["abc", "def", "gh", "ij"]),
        ("葡萄糖 糖", 4, ["葡萄", "糖", "糖"]),
        ("", 5, [""]),
    ],
)
def test_numbers_were_parted_from_their_units_and_commas_from_what_they_end(
    text: str, width: int, lines: list[str]
) -> None:
    assert broken_at(width, text) == lines


def test_where_numbers_alone_do_not_fit_words_are_whole() -> None:
    rows = [["id", "word"], ["0123456789", "StandardScaler (x=1)"]]
    assert widths_within(8, rows, [True, False]) == [10, 14]
    assert natural_widths(rows) == [10, 20]


def test_one_column_once_took_the_space_of_all_others() -> None:
    cells = ["StandardScaler", "PLSRegression", "OfARunWithALongName"]
    assert widths_within(26, [["a", "b", "c"], cells], [False] * 3) == [8, 9, 5]
