"""Tables for the terminal."""


def format_table(rows, columns):
    """Rows as text with aligned columns, numbers to the right.

    Args:
        rows: `list` of `dict`.
        columns: `dict` of key to heading.

    Returns:
        `str`. A missing value is shown as `-`.

    Example:

    >>> print(format_table([{"a": "x", "b": 1}, {"a": "yy"}], {"a": "name", "b": "count"}))
    name  count
    ----  -----
    x         1
    yy        -
    """
    cells = [[_cell(row.get(key)) for key in columns] for row in rows]
    lines = [list(columns.values()), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    numeric = [all(not isinstance(row.get(key), str) for row in rows) for key in columns]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
