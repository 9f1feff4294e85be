"""The expectation that a query finds no rows, as the checkpoints run it.

The class of Great Expectations runs a query twice, even if the count is 0, keeps up to 200 whole rows and shows none of
them in Data Docs. This one fetches a few rows, only if there are any, and shows them; a cheaper query may prove that
there are none. Its queries are handed to DuckDB as they are: SQLAlchemy would take ``:name`` in a text for a parameter.

Importing this module imports Great Expectations, which takes seconds: do it inside functions only.
"""

import logging
import math
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Final

import great_expectations.expectations as gxe
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.query_metric_provider import QueryMetricProvider
from great_expectations.render import CollapseContent, LegacyDiagnosticRendererType, RenderedTableContent
from great_expectations.render.renderer.renderer import renderer
from sqlalchemy.exc import DBAPIError

NUM_SAMPLES: Final = 20
MAX_CELL_LENGTH: Final = 300
FOUND_ROWS: Final = "unexpected_rows_query.found_rows"
_log = logging.getLogger("nightly")


class FoundRows(QueryMetricProvider):
    """How many rows a query finds, and the first of them as JSON values; none if the proof holds, if there is one."""

    metric_name = FOUND_ROWS
    value_keys = ("unexpected_rows_query", "proof")
    query_param_name: ClassVar[str] = "unexpected_rows_query"

    @metric_value(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(
        cls,
        execution_engine: SqlAlchemyExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> dict[str, Any]:
        batch: Any = execution_engine.batch_manager.active_batch_data
        query, proof = (metric_value_kwargs[key].format(batch=batch.source_table_name) for key in cls.value_keys)
        with execution_engine.get_connection() as con:
            if proof and _holds(con, proof):
                return {"count": 0, "rows": []}
            count = con.exec_driver_sql(f"select count(*) from ({query})").scalar_one()
            found = con.exec_driver_sql(f"select * from ({query}) limit {NUM_SAMPLES}").mappings() if count else ()
            return {"count": count, "rows": [{name: json_value(cell) for name, cell in row.items()} for row in found]}


def _holds(con: Any, proof: str) -> bool:
    """Whether a proof gives true. It may fail where its query does not: of memory, or at the end of a type."""
    try:
        return con.exec_driver_sql(proof).scalar_one() is True
    except DBAPIError as error:
        con.rollback()
        _log.warning("a checkpoint takes the long way, for a proof failed: %s", error)
        return False


class NoRows(gxe.UnexpectedRowsExpectation):
    """Expect that a query finds no rows; keep and show the first ones that it does find."""

    proof: str = ""

    success_keys: ClassVar[tuple[str, ...]] = ("unexpected_rows_query", "proof")
    metric_dependencies: ClassVar[tuple[str, ...]] = (FOUND_ROWS,)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: Any = None,
    ) -> dict[str, Any]:
        found = metrics[FOUND_ROWS]
        details = {"unexpected_rows": found["rows"]}
        return {"success": found["count"] == 0, "result": {"observed_value": found["count"], "details": details}}

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.UNEXPECTED_TABLE)
    def _diagnostic_unexpected_table_renderer(
        cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None
    ) -> list[RenderedTableContent | CollapseContent] | None:
        """Show the rows; ``assets.gx_pages`` has escaped them."""
        rows = result.result.get("details", {}).get("unexpected_rows") if result else None
        if not rows:
            return None
        return [
            RenderedTableContent(
                table=[["null" if cell is None else str(cell) for cell in row.values()] for row in rows],
                header_row=list(rows[0]),
                styling={"body": {"classes": ["table-bordered", "table-sm", "mt-3"]}},
            )
        ]


def gx_query(query: str) -> str:
    """Write a query as Great Expectations reads it: every brace doubled but those of ``{batch}``."""
    return query.replace("{", "{{").replace("}", "}}").replace("{{batch}}", "{batch}")


def json_value(cell: object) -> str | int | float | bool | None:
    """A cell as JSON can hold it: times in ISO format, lists and long texts as cut text, no NaN."""
    match cell:
        case None | bool() | int():
            return cell
        case float() if math.isfinite(cell):
            return cell
        case Decimal():
            return float(cell)
        case date():
            return cell.isoformat()
    text = str(cell)
    return text if len(text) <= MAX_CELL_LENGTH else f"{text[:MAX_CELL_LENGTH]}... ({len(text)} characters)"
