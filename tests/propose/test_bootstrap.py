from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from luthier.errors import ConfigError, StudyPaused
from luthier.evaluation.data import Row
from luthier.evaluation.rollout import Job
from luthier.program.candidate import Demo, DemoSource, Provenance
from luthier.program.signature import Field, Signature
from luthier.program.trace import Call
from luthier.propose.bootstrap import Bootstrapped, BootstrapSettings, DemoSet, bootstrap
from tests.propose.world import (
    KIND,
    SIZE,
    SPECIES,
    FakeEvaluator,
    Run,
    call,
    evaluator,
    knows,
    original,
    program,
    rows,
    teacher,
)

FLAT = Signature("species", KIND.instruction, (Field("petal", str),), KIND.outputs)
"""The second predictor, as if rows had all its inputs."""


def run_bootstrap(
    data: list[Row], run: Run, settings: BootstrapSettings, *, seed: int = 0, of: Any = None
) -> tuple[Bootstrapped, FakeEvaluator]:
    rolled, fake = evaluator(data, run, of)
    found = asyncio.run(
        bootstrap(rolled, data, settings, teacher=teacher(), candidate=original(fake.program), seed=seed)
    )
    return found, fake


def species_of(made: DemoSet) -> Counter[str]:
    return Counter(demo.outputs["species"] for demo in made.demos["species"])


def sources(made: DemoSet, predictor: str) -> Counter[str]:
    return Counter(demo.provenance.source.value for demo in made.demos[predictor] if demo.provenance)


class TestSets:
    def test_sets_have_the_sizes_asked_for_and_the_first_is_empty(self) -> None:
        found, _ = run_bootstrap(rows(60), knows(*SPECIES), BootstrapSettings(sizes=(0, 6, 12, 12, 18, 18)))
        for predictor in ("petal_size", "species"):
            assert [len(made.demos[predictor]) for made in found.sets] == [0, 6, 12, 12, 18, 18]
        assert [made.kind for made in found.sets] == ["empty", *["bootstrapped"] * 5]

    def test_a_set_is_capped_by_the_demos_there_are(self) -> None:
        found, _ = run_bootstrap(rows(9), knows(*SPECIES), BootstrapSettings(sizes=(0, 18)))
        assert len(found.sets[1].demos["species"]) == 9

    def test_classes_are_balanced_in_every_set(self) -> None:
        data = [row for i, row in enumerate(rows(90)) if row.stratum == "setosa" or i < 20]
        found, _ = run_bootstrap(data, knows(*SPECIES), BootstrapSettings(sizes=(6, 12, 12)))
        assert [sorted(species_of(made).values()) for made in found.sets] == [[2, 2, 2], [4, 4, 4], [4, 4, 4]]

    def test_the_order_within_a_set_is_mixed(self) -> None:
        found, _ = run_bootstrap(rows(90), knows(*SPECIES), BootstrapSettings(sizes=(18,)))
        order = [demo.outputs["species"] for demo in found.sets[0].demos["species"]]
        assert order != order[:3] * 6

    def test_sets_of_all_predictors_come_from_the_same_examples(self) -> None:
        found, _ = run_bootstrap(rows(60), knows(*SPECIES), BootstrapSettings(sizes=(12,)))
        examples = [
            {demo.provenance.example for demo in found.sets[0].demos[name] if demo.provenance}
            for name in ("petal_size", "species")
        ]
        assert examples[0] == examples[1]

    def test_sets_alike_but_for_their_order_are_dropped_with_a_warning(self) -> None:
        found, _ = run_bootstrap(rows(6), knows(*SPECIES), BootstrapSettings(sizes=(0, 6, 6, 6)))
        assert len(found.sets) == 2
        assert any("2 distinct demo sets" in warning and "4 wanted" in warning for warning in found.warnings)

    @pytest.mark.parametrize("knowing", [SPECIES, ("setosa",)])
    def test_labels_and_failures_are_not_crowded_out_by_passing_traces(self, knowing: tuple[str, ...]) -> None:
        orders = (DemoSource.BOOTSTRAPPED, DemoSource.LABELED, DemoSource.CORRECTIVE)
        settings = BootstrapSettings(sizes=(12, 12, 12), first=orders, labeled=16)
        found, _ = run_bootstrap(rows(60), knows(*knowing), settings, of=program(SIZE, FLAT))
        passing, labels, failures = (sources(made, "species") for made in found.sets)
        assert passing["bootstrapped"] == (12 if knowing == SPECIES else 4)
        assert labels == {"labeled": 12}
        assert failures == ({"labeled": 12} if knowing == SPECIES else {"corrective": 8, "labeled": 4})
        assert [set(species_of(made).values()) for made in found.sets] == [{4}, {4}, {4}]

    def test_where_rows_have_no_labels_of_a_predictor_its_passing_traces_fill_every_set(self) -> None:
        orders = (DemoSource.LABELED, DemoSource.COMPLETED)
        settings = BootstrapSettings(sizes=(6, 6), first=orders, labeled=16)
        found, _ = run_bootstrap(rows(60), knows(*SPECIES), settings)
        assert [sources(made, "petal_size") for made in found.sets] == [{"bootstrapped": 6}] * 2

    def test_a_source_must_be_named_for_each_set_or_for_none(self) -> None:
        with pytest.raises(ConfigError, match="first"):
            BootstrapSettings(sizes=(0, 6), first=(DemoSource.LABELED,))

    def test_an_unlucky_repetition_is_drawn_anew(self) -> None:
        found, _ = run_bootstrap(rows(9), knows(*SPECIES), BootstrapSettings(sizes=(0, 3, 3, 3, 3, 3, 3)))
        assert len({made.content for made in found.sets}) == 7

    def test_another_seed_draws_other_sets_and_the_same_seed_the_same(self) -> None:
        settings = BootstrapSettings(sizes=(6,))
        first, again, other = (run_bootstrap(rows(60), knows(*SPECIES), settings, seed=s)[0] for s in (0, 0, 1))
        assert first == again
        assert first.sets[0].content != other.sets[0].content

    def test_a_small_class_with_labels_of_many_values_is_balanced_by_the_stratum(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            return [call("petal_size", row.inputs, {"size": f"about {row.id}"}), *knows(*SPECIES)(row, job)[1:]]

        data = [row for i, row in enumerate(rows(90)) if row.stratum == "setosa" or i < 20]
        found, _ = run_bootstrap(data, run, BootstrapSettings(sizes=(6,)))
        strata = {row.id: row.stratum for row in data}
        shown = Counter(strata[d.provenance.example or ""] for d in found.sets[0].demos["petal_size"] if d.provenance)
        assert sorted(shown.values()) == [2, 2, 2]

    def test_rows_alone_make_the_demos_where_that_is_asked_for_and_they_can(self) -> None:
        settings = BootstrapSettings(sizes=(0, 6), labeled=6, rounds=0)
        _, fake = run_bootstrap(rows(30), knows(*SPECIES), settings)
        assert fake.jobs, "the size of a petal is in no row, so the program must be run"

        alone, fake = run_bootstrap(rows(30), knows(*SPECIES), settings, of=program(TestLabeledDemos.REVIEW))
        assert fake.jobs == [] and alone.warnings == ()
        assert {d.provenance.source for d in alone.sets[1].demos["review"] if d.provenance} == {DemoSource.LABELED}

    def test_no_rollout_is_made_for_empty_sets_alone(self) -> None:
        found, fake = run_bootstrap(rows(9), knows(), BootstrapSettings(sizes=(0,)))
        assert fake.jobs == [] and len(found.sets) == 1 and found.warnings == ()


class TestAcceptance:
    def test_every_demo_says_where_it_comes_from(self) -> None:
        found, _ = run_bootstrap(rows(30), knows(*SPECIES), BootstrapSettings(sizes=(6,)))
        demo = found.sets[0].demos["species"][0]
        where = demo.provenance
        assert where is not None
        assert (where.source, where.predictor, where.call) == (DemoSource.BOOTSTRAPPED, "species", 0)
        assert where.example is not None and where.rollout is not None and where.example in where.rollout
        assert where.teacher == teacher().identity or where.teacher is not None
        assert where.temperature == 0.0

    def test_later_rounds_run_hotter_and_only_over_classes_that_lack_passes(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            return knows(*(SPECIES if job.temperature == 1.0 else SPECIES[:2]))(row, job)

        found, fake = run_bootstrap(rows(90), run, BootstrapSettings(sizes=(0, 12), batch=4))
        later = [job for job in fake.jobs if job.repeat == 1]
        assert all(job.temperature is None for job in fake.jobs if job.repeat == 0)
        assert {job.temperature for job in later} == {1.0}
        assert {fake.rows[job.example].stratum for job in later} == {"virginica"}
        assert len(later) == 4, "four passes are what a set of 12 over three classes needs"
        assert found.passes == {"setosa": 30, "versicolor": 30, "virginica": 4}
        assert found.attempts == {"setosa": 30, "versicolor": 30, "virginica": 34}
        virginica = [d for d in found.sets[1].demos["species"] if d.outputs["species"] == "virginica"]
        assert {d.provenance.temperature for d in virginica if d.provenance} == {1.0}

    def test_a_class_without_a_pass_is_warned_of(self) -> None:
        found, _ = run_bootstrap(rows(30), knows("setosa"), BootstrapSettings(sizes=(0, 6)))
        assert found.passes == {"setosa": 10, "versicolor": 0, "virginica": 0}
        assert "no passing trace with label 'versicolor' in 20 rollouts of the teacher" in found.warnings

    def test_acceptance_stops_at_the_quota_of_each_class(self) -> None:
        found, fake = run_bootstrap(rows(90), knows(*SPECIES), BootstrapSettings(sizes=(0, 6), max_passes=6, batch=3))
        assert found.passes == dict.fromkeys(SPECIES, 2)
        assert len(fake.jobs) == 6

    def test_rollouts_never_exceed_their_limit(self) -> None:
        settings = BootstrapSettings(sizes=(0, 6), max_rollouts=20)
        found, fake = run_bootstrap(rows(90), knows("setosa"), settings)
        assert len(fake.jobs) == 20 == sum(found.attempts.values()) == settings.most_rollouts(90)

    def test_the_threshold_counts_when_it_is_zero(self) -> None:
        found, _ = run_bootstrap(rows(9), knows("setosa"), BootstrapSettings(sizes=(0, 6), threshold=0.0))
        assert found.passes == dict.fromkeys(SPECIES, 3)

    def test_an_unreadable_answer_never_passes(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            return [knows(*SPECIES)(row, job)[0], call("species", {"size": "?", "petal": "?"}, None)]

        found, _ = run_bootstrap(rows(9), run, BootstrapSettings(sizes=(0, 6), threshold=0.0))
        assert found.passes == dict.fromkeys(SPECIES, 0)

    def test_rollouts_lost_to_infrastructure_are_tried_again_and_counted_apart(self) -> None:
        data = rows(9)
        rolled, fake = evaluator(data, knows(*SPECIES))
        fake.lost.update({"row1": 1, "row2": 2})
        settings = BootstrapSettings(sizes=(0, 3), rounds=1)
        found = asyncio.run(bootstrap(rolled, data, settings, teacher=teacher(), candidate=original(), seed=0))
        assert sum(found.attempts.values()) == 8
        assert any("1 rollouts of the teacher went unscored" in warning for warning in found.warnings)

    def test_the_study_pauses_when_infrastructure_takes_everything(self) -> None:
        data = rows(3)
        rolled, fake = evaluator(data, knows(*SPECIES))
        fake.lost.update({row.id: 9 for row in data})
        with pytest.raises(StudyPaused, match="none of 3 rollouts"):
            asyncio.run(bootstrap(rolled, data, BootstrapSettings(), teacher=teacher(), candidate=original(), seed=0))

    def test_the_teacher_never_sees_a_demo_of_the_example_it_runs(self) -> None:
        data = rows(3)
        rolled, fake = evaluator(data, knows(*SPECIES))
        own = [Demo({"petal": "p"}, {"species": "setosa"}, None, Provenance(DemoSource.LABELED, r.id)) for r in data]
        prompts = original().with_demos("species", own)
        asyncio.run(bootstrap(rolled, data, BootstrapSettings(), teacher=teacher(), candidate=prompts, seed=0))
        for job in fake.jobs:
            examples = [d.provenance.example for d in job.candidate.prompts["species"].demos if d.provenance]
            assert len(examples) == 2 and job.example not in examples


class TestCompletedDemos:
    def test_a_teacher_of_one_answer_still_gives_demos_of_all_classes(self) -> None:
        found, _ = run_bootstrap(rows(60), knows("setosa"), BootstrapSettings(sizes=(0, 6, 12)))
        assert species_of(found.sets[1]) == dict.fromkeys(SPECIES, 2)
        assert sources(found.sets[1], "species") == {"bootstrapped": 2, "corrective": 4}
        assert found.counts["species"] == {"bootstrapped": 20, "corrective": 40}
        assert found.sets[1].kind == "mixed"

    def test_only_predictors_whose_outputs_are_labels_are_completed(self) -> None:
        found, _ = run_bootstrap(rows(60), knows("setosa"), BootstrapSettings(sizes=(0, 6)))
        assert sources(found.sets[1], "petal_size") == {"bootstrapped": 6}
        assert {demo.outputs["size"] for demo in found.sets[1].demos["petal_size"]} == {"small"}

    def test_completing_can_be_switched_off(self) -> None:
        found, _ = run_bootstrap(rows(60), knows("setosa"), BootstrapSettings(sizes=(0, 6), completed=False))
        assert sources(found.sets[1], "species") == {"bootstrapped": 6}

    def test_inputs_are_the_ones_the_predictor_really_had(self) -> None:
        found, _ = run_bootstrap(rows(60), knows("setosa"), BootstrapSettings(sizes=(0, 12)))
        completed = [d for d in found.sets[1].demos["species"] if d.outputs["species"] == "virginica"]
        assert completed and all(d.inputs["size"] == "large" for d in completed)

    def test_a_column_of_another_vocabulary_completes_nothing(self) -> None:
        numbered = [Row(r.id, r.example, r.inputs, {"species": SPECIES.index(r.stratum)}, r.stratum) for r in rows(9)]
        found, _ = run_bootstrap(numbered, knows(), BootstrapSettings(sizes=(0, 6)), of=None)
        assert found.counts["species"] == {}

    def test_what_a_passing_rollout_answered_is_not_completed_as_well(self) -> None:
        found, _ = run_bootstrap(rows(30), knows(*SPECIES), BootstrapSettings(sizes=(0, 6)))
        assert found.counts["species"] == {"bootstrapped": 30}

    def test_reasoning_is_kept_only_where_it_led_to_the_label(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            inputs = {"size": "small", "petal": row.inputs["petal"]}
            return [
                Call("species", 0, inputs, {"species": row.stratum}, "right thoughts", "", "stop", None),
                Call("species", 1, inputs | {"size": "odd"}, {"species": "setosa"}, "other thoughts", "", "stop", None),
            ]

        found, _ = run_bootstrap(rows(30), run, BootstrapSettings(sizes=(0, 30)), of=program(KIND))
        made = [d for d in found.sets[1].demos["species"] if d.provenance]
        completed = {
            (d.provenance.call, d.provenance.source, d.reasoning)
            for d in made
            if d.provenance and d.provenance.source is not DemoSource.BOOTSTRAPPED
        }
        assert completed == {
            (0, DemoSource.COMPLETED, "right thoughts"),
            (1, DemoSource.CORRECTIVE, None),
        }

    def test_corrective_sets_show_a_predictors_own_mistakes_before_those_of_others(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            # Every run fails, but this predictor is to blame in one of three of each class only.
            number = int(row.id.removeprefix("row"))
            said = row.stratum if number // 3 % 3 else "none of them"
            return [call("species", {"size": "small", "petal": row.inputs["petal"]}, {"species": said}, 0)]

        settings = BootstrapSettings(sizes=(18, 30), first=(DemoSource.CORRECTIVE,) * 2, rounds=1, threshold=2.0)
        found, _ = run_bootstrap(rows(90), run, settings, of=program(KIND))
        assert sources(found.sets[0], "species") == {"corrective": 18}
        assert species_of(found.sets[0]) == dict.fromkeys(SPECIES, 6)
        assert found.sets[1].kind == "corrective" and found.counts["species"] == {"completed": 60, "corrective": 30}


class TestPredictorsCalledOften:
    def test_a_set_takes_demos_from_several_calls_of_a_run(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            hops = [call("petal_size", {"petal": f"{row.id} hop {hop}"}, {"size": "small"}, hop) for hop in range(3)]
            return [*hops, knows(*SPECIES)(row, job)[1]]

        found, _ = run_bootstrap(rows(30), run, BootstrapSettings(sizes=(0, 12, 60)))
        where = [d.provenance for d in found.sets[1].demos["petal_size"] if d.provenance]
        assert {p.call for p in where} == {0, 1, 2}
        assert len({p.example for p in where}) == 12, "a new example before a second call of one"
        assert len(found.sets[2].demos["petal_size"]) == 60, "three calls of each of thirty runs are ninety demos"

    def test_inputs_met_twice_are_shown_once(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            return [call("petal_size", {"petal": "same"}, {"size": "small"}), knows(*SPECIES)(row, job)[1]]

        found, _ = run_bootstrap(rows(30), run, BootstrapSettings(sizes=(0, 12)))
        assert len(found.sets[1].demos["petal_size"]) == 1

    def test_a_predictor_the_program_did_not_name_is_left_out(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            return [call("stranger", {}, {"x": "y"}), *knows(*SPECIES)(row, job)]

        found, _ = run_bootstrap(rows(9), run, BootstrapSettings(sizes=(0, 3)))
        assert set(found.sets[1].demos) == {"petal_size", "species"}


class TestLabeledDemos:
    REVIEW = Signature("review", "Review.", (Field("petal", str),), (Field("species", str),))

    def test_rows_that_cover_a_predictor_fill_up_to_the_limit(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            return [call("review", {"petal": row.inputs["petal"]}, {"species": "setosa"})]

        settings = BootstrapSettings(sizes=(0, 12), labeled=2, completed=False)
        found, _ = run_bootstrap(rows(6), run, settings, of=program(self.REVIEW))
        assert sources(found.sets[1], "review") == {"bootstrapped": 2, "labeled": 2}


class TestPrivacy:
    def test_private_fields_are_nowhere(self) -> None:
        found, _ = run_bootstrap(rows(30), knows("setosa"), BootstrapSettings(sizes=(0, 12), labeled=6))
        assert "Secret" not in json.dumps(found.to_json())
        assert set(found.sets[1].demos["petal_size"][0].inputs) == {"petal"}

    def test_a_name_private_in_the_program_is_private_in_every_predictor(self) -> None:
        leaky = Signature("leaky", "Go.", (Field("owner", str), Field("petal", str)), (Field("size", str),))

        def run(row: Row, job: Job) -> list[Call]:
            return [call("leaky", row.inputs, {"size": "s"}), knows(*SPECIES)(row, job)[1]]

        found, _ = run_bootstrap(rows(9), run, BootstrapSettings(sizes=(0, 3)), of=program(leaky, KIND))
        assert "Secret" not in json.dumps(found.to_json())

    def test_a_predictor_with_private_outputs_only_gives_no_demos(self) -> None:
        closed = Signature("closed", "Go.", (Field("petal", str),), (Field("owner", str, private=True),))

        def run(row: Row, job: Job) -> list[Call]:
            return [call("closed", row.inputs, {"owner": "Secret"}), knows(*SPECIES)(row, job)[1]]

        found, _ = run_bootstrap(rows(9), run, BootstrapSettings(sizes=(0, 3)), of=program(closed, KIND))
        assert found.sets[1].demos["closed"] == ()
        assert any("'closed' has no traced demos" in warning for warning in found.warnings)


class TestPaperSets:
    def test_zero_shot_labels_only_and_unshuffled_come_first_and_count(self) -> None:
        reviewed = program(TestLabeledDemos.REVIEW)

        def run(row: Row, job: Job) -> list[Call]:
            return [call("review", {"petal": row.inputs["petal"]}, {"species": row.stratum})]

        found, _ = run_bootstrap(rows(60), run, BootstrapSettings.paper(8, 4, 6), of=reviewed)
        assert [made.kind for made in found.sets[:3]] == ["empty", "labeled", "mixed"]
        assert len(found.sets) == 8
        unshuffled = [d for d in found.sets[2].demos["review"] if d.provenance and d.provenance.call == 0]
        assert [d.provenance.example for d in unshuffled if d.provenance] == ["row0", "row1", "row2", "row3"]
        assert sources(found.sets[2], "review") == {"bootstrapped": 4, "labeled": 2}
        assert {sources(made, "review")["bootstrapped"] for made in found.sets[3:]} <= {1, 2, 3, 4}

    def test_a_set_stops_at_its_first_passes(self) -> None:
        found, fake = run_bootstrap(rows(60), knows(*SPECIES), BootstrapSettings.paper(2, 4, 0))
        assert len(fake.jobs) == 4
        assert [made.kind for made in found.sets] == ["empty", "bootstrapped"]

    def test_no_example_is_rolled_out_twice_and_nothing_is_completed(self) -> None:
        found, fake = run_bootstrap(rows(30), knows("setosa"), BootstrapSettings.paper(6, 4, 0))
        assert len({job.example for job in fake.jobs}) == len(fake.jobs)
        assert {"completed", "corrective"} & {kind for name in found.counts for kind in found.counts[name]} == set()

    def test_a_predictor_called_twice_keeps_its_first_k_calls(self) -> None:
        def run(row: Row, job: Job) -> list[Call]:
            hops = [call("petal_size", {"petal": f"{row.id} hop {hop}"}, {"size": "small"}, hop) for hop in range(2)]
            return [*hops, knows(*SPECIES)(row, job)[1]]

        found, _ = run_bootstrap(rows(30), run, BootstrapSettings.paper(2, 1, 0))
        assert [d.inputs["petal"] for d in found.sets[1].demos["petal_size"]] == ["row0 hop 0"]

    def test_the_teacher_is_shown_labeled_demos_but_none_of_its_own_example(self) -> None:
        reviewed = program(TestLabeledDemos.REVIEW)

        def run(row: Row, job: Job) -> list[Call]:
            return [call("review", {"petal": row.inputs["petal"]}, {"species": row.stratum})]

        _, fake = run_bootstrap(rows(4), run, BootstrapSettings.paper(3, 4, 4), of=reviewed)
        for job in fake.jobs:
            shown = [d.provenance.example for d in job.candidate.prompts["review"].demos if d.provenance]
            assert len(shown) == 3 and job.example not in shown

    def test_zero_bootstrapped_demos_are_no_error(self) -> None:
        found, fake = run_bootstrap(rows(9), knows(*SPECIES), BootstrapSettings.paper(5, 0, 0))
        assert fake.jobs == [] and len(found.sets) == 1


@pytest.mark.parametrize(
    "settings",
    [{"sizes": ()}, {"sizes": (-1,)}, {"rounds": -1}, {"labeled": -1}, {"batch": 0}, {"max_rollouts": 0}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        BootstrapSettings(**settings)


def test_a_result_survives_the_journal() -> None:
    found, _ = run_bootstrap(rows(30), knows("setosa"), BootstrapSettings(sizes=(0, 6, 12)))
    assert Bootstrapped.from_json(json.loads(json.dumps(found.to_json()))) == found
    provenance = Bootstrapped.from_json(found.to_json()).sets[1].demos["species"][0].provenance
    assert provenance == found.sets[1].demos["species"][0].provenance


def test_sample_traces_are_of_different_classes() -> None:
    found, _ = run_bootstrap(rows(30), knows(*SPECIES), BootstrapSettings(sizes=(0, 6)))
    assert {trace[-1]["outputs"]["species"] for trace in found.traces} == set(SPECIES)


def species_labels(made: DemoSet) -> Counter[str]:
    return Counter(demo.outputs["species"] for demo in made.demos["review"])
