"""Cutting data into train, val, and test; and val into minibatch blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luthier.canonical import uniform_order
from luthier.errors import DataError
from luthier.evaluation.data import Row, Table, load_table, parameters_of, tables_of
from luthier.evaluation.sources import is_dataset_dict

if TYPE_CHECKING:
    from luthier.program.program import Program

LEAST_FOR_VERDICT = 60
"""Below so many examples there is no test set, hence no verdict."""
_TEST, _VAL = 0.4, 0.35
"""Shares of the examples; the rest is for training."""
_LARGEST = 300
"""More examples than this in test, or in val, go to training."""


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set that is cut already: demos come from train, candidates are compared on val, the verdict is from test.

    Each part is anything that ``optimize`` takes as data. Without a test part there is no verdict.
    """

    train: Any
    val: Any
    test: Any = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.train, self.val, self.test))


@dataclass(frozen=True, slots=True)
class Split:
    """Rows by what they are used for; no input and no group is in two parts."""

    train: tuple[Row, ...]
    val: tuple[Row, ...]
    test: tuple[Row, ...]
    input_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    _by_id: dict[str, Row] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_id.update((row.id, row) for row in (*self.train, *self.val, *self.test))

    @property
    def rows(self) -> Mapping[str, Row]:
        """All rows by id."""
        return self._by_id

    def row(self, id: str) -> Row:
        """Return the row of that id.

        Raises:
            KeyError: there is none.
        """
        return self._by_id[id]

    def ids(self) -> dict[str, list[str]]:
        """Return the ids of each part, as the journal keeps them."""
        return {
            "train": [row.id for row in self.train],
            "val": [row.id for row in self.val],
            "test": [row.id for row in self.test],
        }


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows each part gets."""

    train: int
    val: int
    test: int


def split(
    data: Any,
    program: Program,
    *,
    inputs: Sequence[str] | None = None,
    group: str | None = None,
    split_seed: int = 0,
    sizes: tuple[int, int, int] | None = None,
) -> Split:
    """Cut data for a program; a ``Splits`` is checked and kept as it is.

    The order is hash(split_seed, inputs), stratified by class; equal inputs and groups never cross a cut, so
    sizes are exact wherever whole groups allow it. The same rows in another order give the same cut.

    Args:
        data: a data set, or ``Splits``.
        program: whose parameters decide what is an input.
        inputs: the columns to feed, where names alone do not decide.
        group: a column whose equal values belong together.
        split_seed: another number, another cut.
        sizes: (train, val, test), instead of the usual ones; rows left over are not used.

    Raises:
        DataError: the data are unusable, too few, or the parts given are not disjoint.
    """
    if is_dataset_dict(data):
        data = _splits_of(data)
    if isinstance(data, Splits):
        if sizes is not None:
            raise DataError("sizes and lt.Splits cannot be given together: the parts have their sizes already")
        return _given(data, program, inputs, group)
    table = load_table(data, parameters_of(program), inputs=inputs, group=group)
    n = len(table.rows)
    wanted = usual_sizes(n) if sizes is None else Sizes(*sizes)
    _check_sizes(wanted, n)
    rest = _in_order(_clusters(table.rows, split_seed))
    test, rest = _take(rest, wanted.test)
    val, rest = _take(rest, wanted.val)
    train, _ = (rest, []) if sum((wanted.train, wanted.val, wanted.test)) == n else _take(rest, wanted.train)
    parts = {"train": train, "val": val, "test": test}
    for name, clusters in parts.items():
        if getattr(wanted, name) and not clusters:
            raise DataError(f"the groups are too large: none fits into the {getattr(wanted, name)} rows of {name}")
    return Split(_rows(train), _rows(val), _rows(test), table.input_names, table.label_names)


def _splits_of(data: Mapping[str, Any]) -> Any:
    """Return what the parts of a ``DatasetDict`` are for, by the names that data sets give them."""
    if len(data) == 1:
        return next(iter(data.values()))
    train, test = data.get("train"), data.get("test")
    val = next((data[name] for name in ("validation", "val", "dev", "valid") if name in data), None)
    if train is None or val is None or len(data) > 2 + (test is not None):
        parts = ", ".join(map(str, data))
        raise DataError(
            f"the data are a DatasetDict of {parts}: choose one, data[{next(iter(data))!r}], to have it cut, or name "
            "what each is for: lt.Splits(train=…, val=…, test=…)"
        )
    return Splits(train, val, test)


def usual_sizes(n: int) -> Sizes:
    """Return how ``n`` examples are cut: 40 % test and 35 % val, at most 300 each; below 60 there is no test part.

    Raises:
        DataError: there are fewer than two.
    """
    if n < 2:
        raise DataError(f"the data have {n} example; at least 2 are needed ({LEAST_FOR_VERDICT} for a verdict)")
    if n < LEAST_FOR_VERDICT:
        return Sizes(n - n // 2, n // 2, 0)
    test = round(_TEST * n)
    # Of what test leaves, not of all: so one example more never makes any part smaller.
    val = min(_LARGEST, round((n - test) * _VAL / (1 - _TEST)))
    test = min(_LARGEST, test)
    return Sizes(n - val - test, val, test)


def blocks(rows: Sequence[Row], size: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Return minibatches of ``size`` ids each, cycling through one class-stratified permutation of the rows.

    Every id comes once before any comes again, and no id twice in a block. The sequence of blocks may itself be
    cycled: its end meets its beginning.

    Raises:
        ValueError: ``size`` is below 1, or there are no rows.
    """
    if size < 1 or not rows:
        raise ValueError(f"no blocks of {size} of {len(rows)} rows")
    order = [
        row.id
        for cluster in _in_order([_Cluster((row,), uniform_order(seed, row.id)) for row in rows])
        for row in cluster.rows
    ]
    n = len(order)
    size = min(size, n)
    count = math.lcm(n, size) // size
    return tuple(tuple(order[(i * size + j) % n] for j in range(size)) for i in range(count))


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Rows that stay together."""

    rows: tuple[Row, ...]
    order: int
    """At random, but the same for the same inputs and seed."""

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def stratum(self) -> str:
        return self.rows[0].stratum


def _given(data: Splits, program: Program, inputs: Sequence[str] | None, group: str | None) -> Split:
    sources = {"train": data.train, "val": data.val}
    if data.test is not None and not (isinstance(data.test, Sequence) and not data.test):
        sources["test"] = data.test
    tables = tables_of(sources, parameters_of(program), inputs=inputs, group=group)
    _check_disjoint(tables)
    train, val = tables["train"], tables["val"]
    test = tables["test"].rows if "test" in tables else ()
    return Split(train.rows, val.rows, test, train.input_names, train.label_names)


def _check_disjoint(tables: Mapping[str, Table]) -> None:
    home: dict[tuple[str, str], str] = {}
    for name, table in tables.items():
        for row in table.rows:
            keys = [("inputs", row.content)] + ([("group", row.group)] if row.group else [])
            for kind, key in keys:
                if (other := home.setdefault((kind, key), name)) != name:
                    what = f"the same inputs: {dict(row.inputs)!r:.300}" if kind == "inputs" else f"the group {key!r}"
                    raise DataError(
                        f"{other} and {name} must not share examples, but both have {what}. Remove them from one part, "
                        f"or pass the data in one piece and let luthier cut them"
                    )


def _check_sizes(sizes: Sizes, n: int) -> None:
    total = sizes.train + sizes.val + sizes.test
    if min(sizes.train, sizes.val, sizes.test) < 0 or sizes.val < 1 or total > n:
        raise DataError(
            f"sizes=({sizes.train}, {sizes.val}, {sizes.test}) cannot be cut from {n} examples: "
            f"none may be negative, val needs at least one, and they add up to {total}"
        )


def _clusters(rows: Sequence[Row], seed: int) -> list[_Cluster]:
    """Join rows with equal inputs or the same group, transitively."""
    leader: dict[tuple[str, str], tuple[str, str]] = {}

    def find(key: tuple[str, str]) -> tuple[str, str]:
        leader.setdefault(key, key)
        while leader[key] != key:
            leader[key] = key = leader[leader[key]]
        return key

    for row in rows:
        if row.group:
            leader[find(("inputs", row.content))] = find(("group", row.group))
    members: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        members.setdefault(find(("inputs", row.content)), []).append(row)
    # Sorted by hash, so that neither the order of the rows nor which of them leads can show.
    clusters = []
    for joined in members.values():
        ordered = sorted(joined, key=lambda row: (uniform_order(seed, row.content), row.id))
        clusters.append(_Cluster(tuple(ordered), uniform_order(seed, ordered[0].content)))
    return clusters


def _in_order(clusters: Iterable[_Cluster]) -> list[_Cluster]:
    """Order clusters so that every stretch has its share of every class.

    A class of m rows is spread evenly over (0, 1); where classes tie, the hash decides.
    """
    classes: dict[str, list[_Cluster]] = {}
    for cluster in sorted(clusters, key=lambda c: (c.order, c.rows[0].id)):
        classes.setdefault(cluster.stratum, []).append(cluster)
    placed: list[tuple[float, int, str, _Cluster]] = []
    for members in classes.values():
        total = sum(cluster.size for cluster in members)
        before = 0
        for cluster in members:
            # A class of one or two would always land in the middle; it goes anywhere instead.
            offset = cluster.order / 2**64 if len(members) < 3 else 0.5
            placed.append(((before + offset * cluster.size) / total, cluster.order, cluster.rows[0].id, cluster))
            before += cluster.size
    return [cluster for *_, cluster in sorted(placed, key=lambda entry: entry[:3])]


def _take(clusters: Sequence[_Cluster], size: int) -> tuple[list[_Cluster], list[_Cluster]]:
    """Part the earliest clusters that fill ``size`` rows, exactly or as nearly as whole clusters can, from the rest."""
    # attainable[i]: bit s is set where some of the clusters from i on add up to s.
    mask = (1 << (size + 1)) - 1
    attainable = [1]
    for cluster in reversed(clusters):
        attainable.append((attainable[-1] | attainable[-1] << cluster.size) & mask)
    attainable.reverse()
    wanted = attainable[0].bit_length() - 1
    taken: list[_Cluster] = []
    rest: list[_Cluster] = []
    for cluster, later in zip(clusters, attainable[1:], strict=True):
        if cluster.size <= wanted and later >> (wanted - cluster.size) & 1:
            taken.append(cluster)
            wanted -= cluster.size
        else:
            rest.append(cluster)
    return taken, rest


def _rows(clusters: Iterable[_Cluster]) -> tuple[Row, ...]:
    return tuple(row for cluster in clusters for row in cluster.rows)
