"""What one table must fulfil, as data: a name, the kind of test, its arguments, and the meaning in words.

The kinds are class names of Great Expectations, but nothing here imports it: the layer above runs them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any, Literal

from pipelines.engine import identifier, quote

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Expectation:
    """One expectation about one table.

    ``name`` is a sentence in snake_case, ``kind`` a class of Great Expectations, ``arguments`` its fields, and
    ``meaning`` what a person reads when it fails. A failing ``warning`` is told, a failing ``error`` stops the night.

    ``proof`` is a cheaper query, or empty: one boolean that is true only if the query of ``arguments`` finds no rows.
    False, null and an error prove nothing: then that query decides, and shows the rows.
    """

    name: str
    kind: str
    arguments: Mapping[str, Any]
    meaning: str
    severity: Severity = "error"
    proof: str = ""


class Sql(str):
    """A piece of SQL that goes into a query as it is, not as a text literal."""


def no_rows(
    name: str, query: str, meaning: str, *, severity: Severity = "error", proof: str = "", **values: object
) -> Expectation:
    """Expect that a query finds nothing; what it finds are the rows that a person should see.

    ``{batch}`` in the query and in its ``proof`` stands for the table itself and bears no alias; other tables are named
    as their views. ``$x`` is replaced by ``values["x"]`` written as an SQL literal.
    """
    literals = {key: sql_literal(value) for key, value in values.items()}
    sql, proof = (Template(text).substitute(literals).strip() for text in (query, proof))
    return Expectation(name, "UnexpectedRowsExpectation", {"unexpected_rows_query": sql}, meaning, severity, proof)


def sql_literal(value: object) -> str:
    """Write a value as DuckDB reads it; a sequence becomes a list.

    Raises ``TypeError`` for a type that has no literal here.
    """
    match value:
        case Sql():
            return value
        case str():
            return quote(value)
        case bool() | int() | float():
            return str(value)
        case Sequence():
            return "[" + ", ".join(sql_literal(item) for item in value) + "]"
    raise TypeError(f"no SQL literal for {type(value).__name__}: {value!r}")


def column_list(columns: Sequence[str]) -> Sql:
    """Write names of columns as a quoted list, as it stands after ``select`` or ``group by``."""
    return Sql(", ".join(identifier(column) for column in columns))
