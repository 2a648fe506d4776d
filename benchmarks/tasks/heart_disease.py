"""Heart Disease: three trainees' opinions and a vote on whether a patient has heart disease (MIPRO App. A).

One example: ``{"age": "63", "sex": "male", "cp": "typical angina", …, "answer": "no"}``: thirteen attributes in words.

Traps:
    - The paper's Table 1 says two modules; four predictors are tuned (its Table 10): the three trainees and the vote.
    - The opinions differ in temperature only (0.70, 0.71, 0.72), which keeps them apart in a store.
    - The original scores far below chance there, because its answers cannot be read: a miss of form.
    - Six values are missing; they read "unknown".
    - Row order is that of UCI's file, not of the copy whose order the paper's split depends on.

Source: UCI's processed Cleveland file (Janosi et al. 1988, CC BY 4.0), as kept by ``qhuy4/python_project``; or
``heart_disease/heart_disease.jsonl`` below ``LUTHIER_DATA_DIR``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import luthier as lt
from benchmarks.tasks.sources import RepositoryFile, repository_file
from benchmarks.tasks.task import PaperSettings, Task
from luthier.demo.packaged import local_rows

INPUTS = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal",
)  # fmt: skip

_FILE = RepositoryFile(
    "qhuy4/python_project", "33984b40f9fd0bbcf838967cc317d03d9ad8c6be", "data/processed.cleveland.data", "97e936c65918"
)
_WORDS: Mapping[str, Mapping[int, str]] = {
    "sex": {0: "female", 1: "male"},
    "cp": {1: "typical angina", 2: "atypical angina", 3: "non-anginal pain", 4: "asymptomatic"},
    "fbs": {0: "false", 1: "true"},
    "restecg": {0: "normal", 1: "ST-T wave abnormality", 2: "left ventricular hypertrophy"},
    "exang": {0: "no", 1: "yes"},
    "slope": {1: "upsloping", 2: "flat", 3: "downsloping"},
    "thal": {3: "normal", 6: "fixed defect", 7: "reversible defect"},
}

Answer = Annotated[str, "does the patient have heart disease? just yes or no"]


@dataclass(frozen=True, slots=True)
class Opinion:
    """A trainee's reasoning and answer."""

    reasoning: str
    answer: Answer


@lt.predictor(reasoning=True)
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
) -> Opinion:
    """Given patient information, predict the presence of heart disease."""
    return lt.predict()


opinions = tuple(opinion.named(f"opinion_{i}", temperature=0.70 + i / 100) for i in range(3))


@lt.predictor(reasoning=True, output="answer")
def vote(  # noqa: PLR0913 - the attributes of the data
    trainees: Annotated[list[str], "what trainee doctors think"],
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
    """Given patient information, predict the presence of heart disease. Critically assess the trainees' opinions."""
    return lt.predict()


def heart_disease(  # noqa: PLR0913 - the attributes of the data
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
    """Ask three trainees, then decide."""
    patient = {name: value for name, value in locals().items() if name in INPUTS}
    heard = [trainee(**patient) for trainee in opinions]
    return vote(
        trainees=[f"I am a trainee doctor. {said.reasoning} Hence, my answer is {said.answer}." for said in heard],
        **patient,
    )


def rows() -> list[dict[str, Any]]:
    """Return the 303 patients: thirteen attributes as text, and whether heart disease was found.

    Raises:
        DataError: the data are nowhere to be had.
    """
    local = local_rows("heart_disease/heart_disease.jsonl", (*INPUTS, "answer"))
    if local is None:
        lines = repository_file(_FILE).decode("utf-8").splitlines()
        return [_patient(line.split(",")) for line in lines if line.strip() and line[0].isdigit()]
    return [
        {**{name: "unknown" if row[name] is None else str(row[name]) for name in INPUTS}, "answer": row["answer"]}
        for row in local
    ]


def _patient(codes: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, code in zip(INPUTS, codes, strict=False):
        if code.strip() == "?":
            told[name] = "unknown"
            continue
        number = float(code)
        whole = int(number) if number.is_integer() else number
        told[name] = _WORDS[name][int(number)] if name in _WORDS else str(number if name == "oldpeak" else whole)
    told["answer"] = "yes" if float(codes[len(INPUTS)]) > 0 else "no"
    return told


TASK = Task(
    name="heart_disease",
    program=heart_disease,
    metric=lt.normalized_match("answer"),
    examples=rows,
    sizes=(60, 60, 183),
    inputs=INPUTS,
    paper=PaperSettings(full_evaluations=30, joint=15, alone=30),
)
