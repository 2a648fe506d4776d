"""ScoNe, Iris, and Heart Disease without reasoning, for LMs so small that reasoning costs them the answer.

Everything else is the tasks' own: data, splits, metrics, traps, and the paper's budget and N; only that Iris takes an
answer in the very form of the label. They are no tasks of the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, cast

import luthier as lt
from benchmarks.tasks import heart_disease, iris_task, scone
from benchmarks.tasks.heart_disease import INPUTS, Answer
from luthier.demo import iris

MAX_TOKENS = 16


@lt.predictor(instruction="context, question -> answer", output="answer", name="scone")
def scone_short(context: str, question: str) -> Annotated[str, "Yes or No"]:
    """Say at once whether the question's sentence follows from the context."""
    return lt.predict()


@lt.predictor(output="answer")
def opinion(  # noqa: PLR0913 - the attributes of the data
    age: Annotated[str, "in years"],
    sex: str,
    cp: Annotated[str, "chest pain type"],
    trestbps: Annotated[str, "resting blood pressure in mm Hg"],
    chol: Annotated[str, "serum cholesterol in mg/dl"],
    fbs: Annotated[str, "fasting blood sugar above 120 mg/dl"],
    restecg: Annotated[str, "resting electrocardiogram"],
    thalach: Annotated[str, "maximum heart rate"],
    exang: Annotated[str, "exercise-induced angina"],
    oldpeak: Annotated[str, "ST depression by exercise relative to rest"],
    slope: Annotated[str, "slope of the peak exercise ST segment"],
    ca: Annotated[str, "number of major vessels coloured by fluoroscopy, 0 to 3"],
    thal: Annotated[str, "thallium scan"],
) -> Answer:
    """Given patient information, predict the presence of heart disease."""
    return lt.predict()


opinions = tuple(opinion.named(f"opinion_{i}", temperature=0.70 + i / 100) for i in range(3))
vote = lt.predictor(output="answer", name="vote")(cast("Callable[..., Answer]", heart_disease.vote.function))


def heart_disease_short(  # noqa: PLR0913 - the attributes of the data
    age: str,
    sex: str,
    cp: str,
    trestbps: str,
    chol: str,
    fbs: str,
    restecg: str,
    thalach: str,
    exang: str,
    oldpeak: str,
    slope: str,
    ca: str,
    thal: str,
) -> str:
    """Ask three trainees for their answers alone, then decide."""
    patient = {name: value for name, value in locals().items() if name in INPUTS}
    heard = [trainee(**patient) for trainee in opinions]
    return vote(trainees=[f"I am a trainee doctor. My answer is {answer}." for answer in heard], **patient)


SCONE = replace(scone.TASK, name="scone_short", program=scone_short, max_tokens=MAX_TOKENS)
IRIS = replace(
    iris_task.IRIS,
    name="iris_short",
    program=iris.iris,
    metric=lt.exact_match("species"),
    about="Tell the species of an iris by four sizes, at once.",
)
IRIS_TYPO = replace(
    iris_task.IRIS_TYPO, name="iris_typo_short", program=iris.iris_typo, metric=lt.exact_match("species")
)
HEART_DISEASE = replace(
    heart_disease.TASK, name="heart_disease_short", program=heart_disease_short, max_tokens=MAX_TOKENS
)
