"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LM = "Language models"
_BUDGET = "Budget (over all LMs together, resumes included)"
_OUTPUT = "Output"
_GATE = "Gate for CI"

Program = Annotated[
    str, typer.Argument(metavar="MODULE:FUNCTION", help="The program; path/to/file.py:function works, too.")
]
StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY_DIR", help="A study's directory.")]
Data = Annotated[str, typer.Option("--data", metavar="PATH", help="Examples: a JSONL, CSV or Parquet file.")]
Metric = Annotated[
    str,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="MODULE:FUNCTION, or exact_match, normalized_match, token_f1, contains, numeric_match, set_match; "
        "a label column after a colon, as in exact_match:species.",
    ),
]
Task = Annotated[
    str,
    typer.Option(
        "--lm",
        metavar="NAME",
        rich_help_panel=_LM,
        help="Runs the program: openai/NAME, PROVIDER/NAME, local/NAME (embedded), or python:MODULE:FUNCTION.",
    ),
]
TaskFor = Annotated[
    list[str] | None,
    typer.Option(
        "--lm-for",
        metavar="PREDICTOR=MODEL",
        rich_help_panel=_LM,
        help="Answers this predictor instead of --lm; as often as wanted.",
    ),
]
MetricFor = Annotated[
    list[str] | None,
    typer.Option(
        "--predictor-metric",
        metavar="PREDICTOR=METRIC",
        help="Scores this predictor's own answer, METRIC as for --metric; as often as wanted.",
    ),
]
Proposer = Annotated[
    str | None,
    typer.Option("--proposer-lm", metavar="NAME", rich_help_panel=_LM, help="Writes instructions; --lm if left out."),
]
Teacher = Annotated[
    str | None,
    typer.Option("--teacher-lm", metavar="NAME", rich_help_panel=_LM, help="Makes demos; --lm if left out."),
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", rich_help_panel=_LM, help="Where an OpenAI-compatible server is."),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        "--api-key-env", metavar="VARIABLE", rich_help_panel=_LM, help="The environment variable with its key."
    ),
]
PriceIn = Annotated[
    float | None,
    typer.Option(
        "--price-in",
        metavar="USD",
        min=0,
        rich_help_panel=_LM,
        help="Dollars per million tokens in; known ones are looked up.",
    ),
]
PriceOut = Annotated[
    float | None,
    typer.Option("--price-out", metavar="USD", min=0, rich_help_panel=_LM, help="Dollars per million tokens out."),
]
Temperature = Annotated[
    str | None,
    typer.Option(
        "--temperature",
        metavar="T|none",
        rich_help_panel=_LM,
        help="Of sampling; none: not sent. Default 0, or none for models known to refuse it.",
    ),
]
MaxTokens = Annotated[
    str | None,
    typer.Option(
        "--max-tokens",
        metavar="N|none",
        rich_help_panel=_LM,
        help="Longest answer, hidden reasoning included; none: not sent. Default 1024, or 16000 for reasoning models.",
    ),
]
ReasoningEffort = Annotated[
    str | None,
    typer.Option(
        "--reasoning-effort", metavar="LEVEL", rich_help_panel=_LM, help="Of a reasoning model: low, medium, high, …"
    ),
]
Extra = Annotated[
    list[str] | None,
    typer.Option(
        "--extra",
        metavar="NAME=JSON",
        rich_help_panel=_LM,
        help='A further field of every request, as in --extra \'thinking={"type": "disabled"}\'; as often as wanted.',
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="chat|completions", rich_help_panel=_LM, help="Which endpoint takes requests."),
]
Optimizer = Annotated[str, typer.Option("--optimizer", metavar="NAME", help="mipro, mipro/paper, and others.")]
Auto = Annotated[
    str | None,
    typer.Option("--auto", metavar="light|medium|heavy|N", help="How much to search; N: program runs of the search."),
]
BudgetUsd = Annotated[
    float | None, typer.Option("--budget-usd", metavar="USD", rich_help_panel=_BUDGET, help="Dollars.")
]
BudgetCalls = Annotated[
    int | None, typer.Option("--budget-calls", metavar="N", rich_help_panel=_BUDGET, help="LM calls.")
]
BudgetTokens = Annotated[
    int | None, typer.Option("--budget-tokens", metavar="N", rich_help_panel=_BUDGET, help="Tokens, in and out.")
]
BudgetSeconds = Annotated[
    float | None, typer.Option("--budget-seconds", metavar="S", rich_help_panel=_BUDGET, help="Seconds.")
]
StudyOption = Annotated[
    Path | None, typer.Option("--study-dir", metavar="DIR", help="Where the study is kept; runs/FUNCTION if left out.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the search.")]
SplitSeed = Annotated[
    int, typer.Option("--split-seed", metavar="N", help="Of the cut into train, validation, and held-out examples.")
]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Program runs in flight at most.")]
ExecutorOption = Annotated[
    str, typer.Option("--executor", metavar="NAME", help="Where programs run: local, or ray (a Ray cluster).")
]
Inputs = Annotated[
    str | None, typer.Option("--inputs", metavar="A,B", help="Columns that feed the program, where names do not say.")
]
Group = Annotated[
    str | None, typer.Option("--group", metavar="COLUMN", help="Rows equal here stay on one side of every cut.")
]
StrongLM = Annotated[
    str | None,
    typer.Option("--strong-lm", metavar="NAME", rich_help_panel=_LM, help="For the ceiling: the same prompts with it."),
]
Start = Annotated[
    list[str] | None,
    typer.Option(
        "--start",
        metavar="DIR|original",
        help="Prompts to tune again, saved or a study's; the first is deployed today, and the verdict is against it.",
    ),
]
CandidateOption = Annotated[
    Path | None, typer.Option("--candidate", metavar="DIR", help="Saved prompts; the program's own if left out.")
]
GroupCompared = Annotated[
    str | None,
    typer.Option(
        "--group", metavar="COLUMN", rich_help_panel=_GATE, help="Rows equal here are not independent of each other."
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="original|DIR",
        rich_help_panel=_GATE,
        help="Compare with these prompts on the same examples: the program's own, saved ones, or a study's.",
    ),
]
FailIfWorse = Annotated[
    float | None,
    typer.Option(
        "--fail-if-worse",
        metavar="SHARE",
        rich_help_panel=_GATE,
        help="End with 10 if the interval of the difference lies wholly below -SHARE: shown to be worse.",
    ),
]
FailUnlessAsGood = Annotated[
    float | None,
    typer.Option(
        "--fail-unless-as-good",
        metavar="SHARE",
        rich_help_panel=_GATE,
        help="Also end with 11 if it reaches below -SHARE: not shown to be as good. Takes many examples.",
    ),
]
Repeats = Annotated[int, typer.Option("--repeats", metavar="N", min=1, help="Runs of each example.")]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="mlflow[:URI]|otel[:ENDPOINT]",
        help="Also log the study to MLflow, or trace it with OpenTelemetry.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Show the plan and stop; nothing is called or written.")]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Search although the baseline leaves nothing to win; else it stops there.")
]
CodeChanged = Annotated[
    bool, typer.Option("--code-changed", help="Go on although the program's or metric's code changed.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=_OUTPUT, help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", rich_help_panel=_OUTPUT, help="The result as JSON on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", rich_help_panel=_OUTPUT, help="Show tracebacks.")]

LAUNCH = {
    "program": Program,
    "data": Data,
    "metric": Metric,
    "predictor_metric": MetricFor,
    "lm": Task,
    "lm_for": TaskFor,
    "proposer_lm": Proposer,
    "teacher_lm": Teacher,
    "base_url": BaseUrl,
    "api_key_env": ApiKeyEnv,
    "price_in": PriceIn,
    "price_out": PriceOut,
    "temperature": Temperature,
    "max_tokens": MaxTokens,
    "reasoning_effort": ReasoningEffort,
    "extra": Extra,
    "endpoint": Endpoint,
    "optimizer": Optimizer,
    "auto": Auto,
    "budget_usd": BudgetUsd,
    "budget_calls": BudgetCalls,
    "budget_tokens": BudgetTokens,
    "budget_seconds": BudgetSeconds,
    "start": Start,
    "seed": Seed,
    "split_seed": SplitSeed,
    "concurrency": Concurrency,
    "executor": ExecutorOption,
    "inputs": Inputs,
    "group": Group,
}
"""The options that say how a study, a check, or an evaluation is started, by their name in ``Launch``."""
