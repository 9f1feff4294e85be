"""The stages that go on from a former night: statistics of items and users, vocabulary, training sequences.

A snapshot of an earlier night holds what it needs to go on, so a night reads the events since, and of the history only
who met which item. It starts from the newest snapshot that still holds: if a file brought late events for a day, from
one before that day.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Final
from uuid import uuid4

from pipelines.kernel import Relation
from pipelines.log_stages import chunks_of_days
from pipelines.neighbours import item_neighbours_kernel
from pipelines.night import ONE_DAY, Night, days_between, replace_days, rules_hash
from pipelines.sequences import training_sequences_kernel
from pipelines.statistics import interval_uniformity_kernel, item_frequency_kernel, item_users_kernel
from pipelines.store import Part, Write
from pipelines.teaching_events import SUBJECT, events_rows, session_items_rows
from pipelines.vocabulary import TOKENS, vocabulary_kernel

RULES: Final = {
    "item_frequency": {"frequent_by", "frequent_share"},
    "interval_uniformity": {"uniform_by", "uniform_share"},
    "item_neighbours": {"num_neighbours", "neighbour_days", "max_neighbour_items"},
}
"""Settings by which each table is made of what is counted: with others, its parts are good to count on from alone."""


def build_item_frequency(night: Night) -> list[Write]:
    """Count the items as of this night, and note who met which item for the first time."""
    settings = night.settings
    known = _what_is_counted(night)
    former = _still_good(night, "item_frequency", known)
    met = [part for part in night.store.parts("item_users") if former and part.partition <= former[0].partition]
    if not _is_whole(met, former, known):
        former, met = [], []
    chunks, kept = _days_since(night, former)
    new = _new_item_users(night, chunks[0][0], met, known)
    snapshots: list[Part] = []
    for days in chunks:
        relations = {
            "events": _events(night, days, "item_id", "event_time"),
            "session_items": _sessions(night, days, session_items_rows(settings, days[0], days[-1])),
            "new_item_users": night.relation_of("item_users", _of_days(new, days), "select item_id from files"),
            "former_item_frequency": night.relation_of("item_frequency", former),
        }
        kernel = item_frequency_kernel(settings.statistics, days[-1])
        former = night.run(kernel, relations, {days[-1]: _made_of(night, "item_frequency", known[days[-1]])})
        snapshots += former if days[-1] in kept else []
    return [
        replace_days("item_frequency", snapshots, kept),
        replace_days("item_users", new, days_between(chunks[0][0], night.day)),
    ]


def _is_whole(met: Sequence[Part], former: Sequence[Part], known: Mapping[date, str]) -> bool:
    """Tell whether who met which item is there for every day up to a snapshot, and of what is known by now.

    It is not where other events were counted since and taken back, or where the table was rolled back.
    """
    days = {day.isoformat() for day in known if former and day.isoformat() <= former[0].partition}
    return days <= {part.partition for part in met} and all(_is_of(part, known) for part in met)


def _new_item_users(night: Night, first: date, met: Sequence[Part], known: Mapping[date, str]) -> list[Part]:
    """Who met which item for the first time from a day on, given all who ``met`` before it."""
    kernel = item_users_kernel(night.settings.nights.time_zone)
    new: list[Part] = []
    for days in chunks_of_days(night, "interactions", first, night.day):
        relations = {
            "events": _events(night, days, "item_id", "user_id", "event_time"),
            "former_item_users": night.relation_of("item_users", [*met, *new], "select item_id, user_id from files"),
        }
        new += night.run(kernel, relations, {day: known[day] for day in days})
    return new


def _of_days(parts: Sequence[Part], days: Sequence[date]) -> list[Part]:
    return [part for part in parts if days[0].isoformat() <= part.partition <= days[-1].isoformat()]


def build_interval_uniformity(night: Night) -> list[Write]:
    """Measure how evenly each user's visits are spaced, as of this night."""
    settings = night.settings
    known = _what_is_counted(night)
    former = _still_good(night, "interval_uniformity", known)
    chunks, kept = _days_since(night, former)
    snapshots: list[Part] = []
    for days in chunks:
        kernel = interval_uniformity_kernel(settings.statistics, settings.nights.time_zone, days[-1])
        relations = {
            "events": _events(night, days, "user_id", "event_time"),
            "former_interval_uniformity": night.relation_of("interval_uniformity", former),
        }
        former = night.run(kernel, relations, {days[-1]: _made_of(night, "interval_uniformity", known[days[-1]])})
        snapshots += former if days[-1] in kept else []
    return [replace_days("interval_uniformity", snapshots, kept)]


def _shaped_by(night: Night) -> str:
    """The settings that shape what is counted."""
    settings = night.settings
    kinds = "\n".join(kind.model_dump_json() for kind in settings.events.event_types)
    return rules_hash(settings.sessions, kinds, settings.nights.time_zone, settings.statistics.time_granularity)


def _what_is_counted(night: Night) -> dict[date, str]:
    """For each day up to this night, a hash of the events up to it and of the settings that shape what is counted.

    The slice of a part begins with it. One whose slice has another than that of its day was counted from other events.
    """
    hashes: dict[str, list[str]] = {}
    for part in night.store.parts("interactions", until=night.day):
        hashes.setdefault(part.partition, []).append(part.sha256)
    known, so_far = {}, _shaped_by(night)
    for day in days_between(_earliest(night), night.day):
        so_far = rules_hash(so_far, day.isoformat(), *hashes.get(day.isoformat(), ()))
        known[day] = so_far
    return known


def _is_of(part: Part, known: Mapping[date, str]) -> bool:
    """Tell whether a part was counted from what is known by now; other rules, or a bucket, may follow in its slice."""
    return part.slice.split("-")[0] == known.get(date.fromisoformat(part.partition))


def _made_of(night: Night, table: str, counted: str) -> str:
    """The slice of a part: a hash of what was counted, and one of the settings by which the table is made of it."""
    return f"{counted}-{rules_hash(night.settings.statistics.model_dump_json(include=RULES[table]))}"


def _still_good(night: Night, table: str, known: Mapping[date, str]) -> list[Part]:
    """The newest snapshot before this night that holds the events known by now; none if there is no such."""
    snapshots: dict[str, list[Part]] = {}
    for part in night.store.parts(table, until=night.first - ONE_DAY):
        snapshots.setdefault(part.partition, []).append(part)
    for _, parts in sorted(snapshots.items(), reverse=True):
        if all(_is_of(part, known) for part in parts):
            return parts
    return []


def _earliest(night: Night) -> date:
    return min([night.first, *night.store.partitions("interactions", until=night.day)])


def _days_since(night: Night, former: Sequence[Part]) -> tuple[list[list[date]], list[date]]:
    """The days after a snapshot up to this night, in chunks, and those at whose end a snapshot is kept.

    Tomorrow's file may bring events of the days before. So there is a snapshot of ``lateness_days`` ago as well, and
    between them of 1, 2, 4, ... days ago: the next night goes on from one at most twice as old as its oldest event.
    """
    first = date.fromisoformat(former[0].partition) + ONE_DAY if former else _earliest(night)
    lateness = night.settings.events.lateness_days
    days_ago = {0, lateness, *(2**n for n in range(lateness.bit_length()))}
    kept = sorted(night.day - num_days * ONE_DAY for num_days in days_ago if num_days <= (night.day - first).days)
    begins = [first, *(day + ONE_DAY for day in kept[:-1])]
    ranges = zip(begins, kept, strict=True)
    chunks = [chunk for begin, end in ranges for chunk in chunks_of_days(night, "interactions", begin, end)]
    return chunks, kept


def _events(night: Night, days: Sequence[date], *columns: str) -> Relation:
    """The events on these days, with the columns that are needed and no other: Beam writes them all, by bucket."""
    events = events_rows(night.settings, days[0], days[-1])
    return _sessions(night, days, f"select {', '.join(columns)} from ({events})")


def _sessions(night: Night, days: Sequence[date], rows: str) -> Relation:
    """Sessions with events on these days: a session that began the day before may go on over midnight."""
    return night.relation("sessions", rows, since=days[0] - ONE_DAY, until=days[-1])


def build_item_neighbours(night: Night) -> list[Write]:
    """Find the neighbours of each item in the window that ends with this night."""
    return _find_neighbours(_as_of_night(night, "item_frequency", build_item_frequency), night)


def _find_neighbours(item_frequency: list[Part], night: Night) -> list[Write]:
    statistics = night.settings.statistics
    first = night.day - timedelta(days=statistics.neighbour_days - 1)
    relations = {
        "events": _events(night, days_between(first, night.day), *SUBJECT, "item_id", "event_time"),
        "item_frequency": night.relation_of("item_frequency", item_frequency),
    }
    made_of = _made_of(night, "item_neighbours", _what_is_counted(night)[night.day])
    parts = night.run(item_neighbours_kernel(statistics, night.day), relations, {night.day: made_of})
    return [replace_days("item_neighbours", parts, [night.day])]


def parts_as_of(night: Night, day: date) -> dict[str, list[Part]]:
    """Parts of item_frequency, interval_uniformity and item_neighbours as of a day up to this night.

    They say of the events up to that day what is known by now, late events included, and nothing of later ones. Where
    those that are published do not, because a file came since, because other settings made them, or because there are
    none, they are made now and stay unpublished.
    """
    then = replace(night, first=day, day=day)
    item_frequency = _as_of_night(then, "item_frequency", build_item_frequency)
    return {
        "item_frequency": item_frequency,
        "interval_uniformity": uniformity_as_of(night, day),
        "item_neighbours": _as_of_night(then, "item_neighbours", partial(_find_neighbours, item_frequency)),
    }


def uniformity_as_of(night: Night, day: date) -> list[Part]:
    """Those parts that ``parts_as_of`` has of interval_uniformity."""
    return _as_of_night(replace(night, first=day, day=day), "interval_uniformity", build_interval_uniformity)


def _as_of_night(night: Night, table: str, build: Callable[[Night], list[Write]]) -> list[Part]:
    """Parts of a table of this night: the published ones, if they are made of what is known by now, or else new ones.

    New ones lie in a folder of their own, for a file of the same name may be a published one of the same run.
    """
    made_of = _made_of(night, table, _what_is_counted(night)[night.day])
    published = night.current(table)
    if published and all(part.slice.startswith(made_of) for part in published):
        return published
    writes = build(replace(night, run_id=f"{night.run_id}/{uuid4().hex}"))
    partition = night.day.isoformat()
    return [part for write in writes if write.table == table for part in write.parts if part.partition == partition]


def build_metadata_vocabulary(night: Night) -> list[Write]:
    """Number the tokens of this night's items that have no number yet."""
    relations = {
        "tokens": night.relation_of("items", night.current("items"), TOKENS),
        "known_tokens": night.relation("metadata_vocabulary"),
    }
    parts = night.run(vocabulary_kernel(night.settings.statistics, night.day), relations)
    return [replace_days("metadata_vocabulary", parts, [night.day])]


def build_training_sequences(night: Night) -> list[Write]:
    """Write the sequences of every day up to this night that has none, or whose sessions changed since.

    Items have the numbers that any night gave them: a night that runs again leaves what late events brought to its day.
    """
    shaped_by = _shaped_by(night)
    kernel = training_sequences_kernel(night.settings.nights.time_zone)
    vocabulary = night.relation("metadata_vocabulary")
    days = _days_to_gather(night, shaped_by)
    parts: list[Part] = []
    for chunk in _consecutive(days):
        for few in chunks_of_days(night, "interactions", chunk[0], chunk[-1]):
            events = _events(night, few, *SUBJECT, "item_id", "event_time", "session_id", "position")
            relations = {"events": events, "metadata_vocabulary": vocabulary}
            parts += night.run(kernel, relations, dict.fromkeys(few, shaped_by))
    return [replace_days("training_sequences", parts, days)]


def _days_to_gather(night: Night, shaped_by: str) -> list[date]:
    """This night, and the days before whose sessions were published after the newest run that read them.

    A run reads all days up to its night that are stale. A part that it made again, and that stayed the same, keeps its
    version; so the versions of the days after it count, too.
    """
    own = [part for part in night.store.parts("training_sequences") if part.slice.startswith(shaped_by)]
    gathered = _versions(own)
    changed: dict[str, int] = {}
    for started, version in _versions(night.store.parts("sessions", until=night.day)).items():
        for day in (started, (date.fromisoformat(started) + ONE_DAY).isoformat()):
            changed[day] = max(version, changed.get(day, 0))
    stale, read = {night.day}, 0
    for day in sorted({*gathered, *changed}, reverse=True):
        read = max(read, gathered.get(day, 0))
        if day not in gathered or read < changed.get(day, 0):
            stale.add(date.fromisoformat(day))
    return sorted(day for day in stale if day <= night.day)


def _versions(parts: Iterable[Part]) -> dict[str, int]:
    """The newest version of each partition."""
    versions: dict[str, int] = {}
    for part in parts:
        versions[part.partition] = max(part.version, versions.get(part.partition, 0))
    return versions


def _consecutive(days: Sequence[date]) -> list[list[date]]:
    """Sorted days in lists of days that follow each other."""
    groups: list[list[date]] = []
    for day in days:
        if groups and day - groups[-1][-1] == ONE_DAY:
            groups[-1].append(day)
        else:
            groups.append([day])
    return groups
