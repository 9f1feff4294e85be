"""The stages that go on from a former night: statistics of items and users, vocabulary, training sequences.

A snapshot of an earlier night holds what it needs to go on, so a night reads the events since and no history. It
starts from the newest snapshot that still holds: if a file brought late events for a day, from one before that day.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from pipelines.kernel import Relation
from pipelines.log_stages import chunks_of_days
from pipelines.neighbours import item_neighbours_kernel
from pipelines.night import ONE_DAY, Night, days_between, replace_days, rules_hash
from pipelines.sequences import training_sequences_kernel
from pipelines.statistics import interval_uniformity_kernel, item_frequency_kernel, item_users_kernel
from pipelines.store import Part, Write
from pipelines.teaching_events import events_rows, session_items_rows
from pipelines.vocabulary import TOKENS, vocabulary_kernel


def build_item_frequency(night: Night) -> list[Write]:
    """Count the items as of this night, and note who met which item for the first time."""
    settings = night.settings
    shaped_by = _shaped_by(night)
    former = _still_good(night, "item_frequency", shaped_by)
    met = [part for part in night.store.parts("item_users") if former and part.partition <= former[0].partition]
    if not all(part.slice.startswith(shaped_by) for part in met):  # other rules were tried since, and taken back
        former, met = [], []
    num_former = len(met)
    new_days: list[date] = []
    for days in _days_since(night, former):
        events = _events(night, days)
        new = night.run(
            item_users_kernel(settings.nights.time_zone),
            {"events": events, "former_item_users": night.relation_of("item_users", met)},
            days,
            shaped_by,
        )
        sessions = session_items_rows(settings, days[0], days[-1])
        relations = {
            "events": events,
            "session_items": _sessions(night, days, sessions),
            "new_item_users": night.relation_of("item_users", new),
            "former_item_frequency": night.relation_of("item_frequency", former),
        }
        former = night.run(item_frequency_kernel(settings.statistics, days[-1]), relations, [days[-1]], shaped_by)
        met += new
        new_days += days
    return [
        replace_days("item_frequency", former, [night.day]),
        replace_days("item_users", met[num_former:], new_days),
    ]


def build_interval_uniformity(night: Night) -> list[Write]:
    """Measure how evenly each user's visits are spaced, as of this night."""
    settings = night.settings
    shaped_by = _shaped_by(night)
    former = _still_good(night, "interval_uniformity", shaped_by)
    for days in _days_since(night, former):
        kernel = interval_uniformity_kernel(settings.statistics, settings.nights.time_zone, days[-1])
        relations = {
            "events": _events(night, days),
            "former_interval_uniformity": night.relation_of("interval_uniformity", former),
        }
        former = night.run(kernel, relations, [days[-1]], shaped_by)
    return [replace_days("interval_uniformity", former, [night.day])]


def _shaped_by(night: Night) -> str:
    """The settings that shape what is counted: another hash, and no former snapshot is good."""
    settings = night.settings
    kinds = "\n".join(kind.model_dump_json() for kind in settings.events.event_types)
    return rules_hash(settings.sessions, kinds, settings.nights.time_zone, settings.statistics.time_granularity)


def _still_good(night: Night, table: str, shaped_by: str) -> list[Part]:
    """The newest snapshot before this night from which one may go on; none if there is no such.

    It is good if the same settings shaped it, and no event of its days was published after it.
    """
    snapshots: dict[str, list[Part]] = {}
    for part in night.store.parts(table, until=night.first - ONE_DAY):
        snapshots.setdefault(part.partition, []).append(part)
    changed = _versions(night.store.parts("interactions"))
    for partition, parts in sorted(snapshots.items(), reverse=True):
        newest = max((version for day, version in changed.items() if day <= partition), default=0)
        if all(part.slice.startswith(shaped_by) and part.version >= newest for part in parts):
            return parts
    return []


def _versions(parts: Iterable[Part]) -> dict[str, int]:
    """The newest version of each partition."""
    versions: dict[str, int] = {}
    for part in parts:
        versions[part.partition] = max(part.version, versions.get(part.partition, 0))
    return versions


def _days_since(night: Night, former: Sequence[Part]) -> list[list[date]]:
    """The days after a snapshot, up to this night, in chunks."""
    known = night.store.partitions("interactions", until=night.day)
    after = date.fromisoformat(former[0].partition) + ONE_DAY if former else min([night.first, *known])
    return chunks_of_days(night, "interactions", after, night.day)


def _events(night: Night, days: Sequence[date]) -> Relation:
    return _sessions(night, days, events_rows(night.settings, days[0], days[-1]))


def _sessions(night: Night, days: Sequence[date], rows: str) -> Relation:
    """Sessions with events on these days: a session that began the day before may go on over midnight."""
    return night.relation("sessions", rows, since=days[0] - ONE_DAY, until=days[-1])


def build_item_neighbours(night: Night) -> list[Write]:
    """Find the neighbours of each item in the window that ends with this night."""
    statistics = night.settings.statistics
    first = night.day - timedelta(days=statistics.neighbour_days - 1)
    relations = {
        "events": _events(night, days_between(first, night.day)),
        "item_frequency": night.relation_of("item_frequency", night.current("item_frequency")),
    }
    parts = night.run(item_neighbours_kernel(statistics, night.day), relations)
    return [replace_days("item_neighbours", parts, [night.day])]


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
    vocabulary = night.relation("metadata_vocabulary")
    days = _days_to_gather(night, shaped_by)
    parts: list[Part] = []
    for chunk in _consecutive(days):
        for few in chunks_of_days(night, "interactions", chunk[0], chunk[-1]):
            relations = {"events": _events(night, few), "metadata_vocabulary": vocabulary}
            parts += night.run(training_sequences_kernel(night.settings.nights.time_zone), relations, few, shaped_by)
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


def _consecutive(days: Sequence[date]) -> list[list[date]]:
    """Sorted days in lists of days that follow each other."""
    groups: list[list[date]] = []
    for day in days:
        if groups and day - groups[-1][-1] == ONE_DAY:
            groups[-1].append(day)
        else:
            groups.append([day])
    return groups
