"""The type of a column of a file, as far as features depend on it."""

from dataclasses import dataclass

NUMBERS = ("bool", "int64", "float64")  # each takes the values of those before it


@dataclass(frozen=True)
class ValueType:
    """The type of the values of a column.

    Args:
        dtype: `"text"`, which may be a number, `"string"`, `"int64"`, `"bool"`, `"float64"`,
            `"null"` if there is no value, or `"other"`.
        is_list: Whether a row holds several values.
        shown: Name of the type in the file.
    """

    dtype: str
    is_list: bool = False
    shown: str = "text"

    @property
    def id_dtype(self) -> str | None:
        """The type in which ids are read and served, `"string"` or `"int64"`; `None` for no ids."""
        dtypes = {"bool": "int64", "int64": "int64", "float64": None, "other": None}
        return dtypes.get(self.dtype, "string")

    def with_values_of(self, other: "ValueType") -> "ValueType | None":
        """Return the type that can hold the values of both; `None` if there is none.

        Example:

        >>> ValueType("int64").with_values_of(ValueType("float64")).dtype
        'float64'
        """
        if other.dtype == "null" or self == other:
            return self
        if self.dtype == "null" and not self.is_list:
            return other
        if self.is_list != other.is_list:
            return None
        if self.dtype in NUMBERS and other.dtype in NUMBERS:
            return max(self, other, key=lambda held: NUMBERS.index(held.dtype))
        return self if self.dtype == other.dtype and self.dtype != "other" else None


TEXT = ValueType("text")


def all_text(source: str) -> ValueType:
    """Return the type of the columns of a text file."""
    return TEXT
