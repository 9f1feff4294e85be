"""The ledger of raw files: which were read, and whether the same content came under two names."""

from collections.abc import Sequence
from datetime import date

from pipelines.engine import connect_to, scan_parts, scan_table
from pipelines.errors import InputError
from pipelines.night import Night
from pipelines.settings import Settings
from pipelines.store import Part, Write

LEDGER = "source_files"


def read_files(settings: Settings) -> set[tuple[date, str, int]]:
    """Day, name and bytes of every raw file that was read."""
    store = settings.open_store()
    with connect_to(store, settings.store) as con:
        return set(
            con.execute(f"select file_date, source_file, num_bytes from ({scan_table(store, LEDGER)})").fetchall()
        )


def read_hashes(night: Night) -> list[str]:
    """Hash of every raw file that was read up to a night."""
    with night.connect() as con:
        return [row[0] for row in con.execute(f"select sha256 from ({night.published(LEDGER)})").fetchall()]


def refuse_repeated_content(night: Night, writes: Sequence[Write]) -> None:
    """Stop when the same bytes came under two names; the same name again is a re-run, and an empty file says nothing.

    Raises ``InputError``.
    """
    staged = [part for write in writes if write.table == LEDGER for part in write.parts]
    days = {part.partition for part in staged}
    former = [part for part in night.store.parts(LEDGER) if part.partition not in days]
    found = _first_repeated(night, staged, former)
    if found:
        name, digest, other = found
        raise InputError(
            "the content of a raw file was already ingested under another name",
            where=night.settings.path_of(name),
            value=f"the same bytes as {other} (sha256 {digest[:12]}...)",
            allowed="each file once; the same name again is a re-run",
            fix=f"remove {name}, or deliver the file that belongs there",
        )


def _first_repeated(night: Night, staged: list[Part], former: list[Part]) -> tuple[str, str, str] | None:
    """Name and hash of the first staged file whose content came before, with the name under which it came."""
    with night.connect() as con:
        return con.execute(f"""
            with files as (
                select *, true as is_staged from ({scan_parts(night.store, LEDGER, staged)})
                union all
                select *, false from ({scan_parts(night.store, LEDGER, former)})
            )
            select s.source_file, sha256, first(o.source_file order by o.is_staged, o.file_date, o.source_file)
            from files as s join files as o using (sha256)
            where s.is_staged and s.num_rows > 0 and o.num_rows > 0 and o.source_file <> s.source_file
                and (not o.is_staged or (o.file_date, o.source_file) < (s.file_date, s.source_file))
            group by s.file_date, s.source_file, sha256 order by s.file_date, s.source_file limit 1
        """).fetchone()
