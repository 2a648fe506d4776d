"""Programs, metrics, and LMs that run on a cluster's workers, which import this module by its name."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import luthier as lt


@lt.predictor
def word(number: str) -> str:
    """Say a word."""
    return lt.predict()


def slow_pair(number: str) -> str:
    """Ask twice, with time to be killed between."""
    first = word(number=f"{number} first")
    time.sleep(0.3)
    return f"{first} {word(number=f'{number} second')}"


def fragile(number: str) -> str:
    """Take the whole worker down at one number, every time."""
    said = word(number=number)
    if number == "3":
        os._exit(1)
    return said


def shaken(number: str) -> str:
    """Make something of an LM that fails with an error of its own."""
    try:
        return word(number=number)
    except LookupError as error:
        return f"caught {error.args[0]}"


def where(number: str) -> str:
    """Return the process that ran this, and one word."""
    word(number=number)
    time.sleep(0.05)
    return str(os.getpid())


class Holding:
    """A program that holds what cannot travel."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, number: str) -> str:
        with self.lock:
            return word(number=number)


class Even:
    """An LM of the user's own, which cannot travel."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, request: lt.Request) -> str:
        return "even"


def failing(request: lt.Request) -> str:
    """Fail as no LM should."""
    raise LookupError("no such word")


@lt.recorded
def looked_up(number: str, marks: str) -> list[str]:
    """Look something up that is paid for, and leave a mark that it was."""
    time.sleep(0.2)
    with (Path(marks) / number).open("a", encoding="utf-8") as file:
        file.write("x")
    return [f"about {number}"]


def retrieving(number: str, marks: str) -> str:
    """Answer from what was looked up."""
    return word(number=" ".join(looked_up(str(int(number) % 3), marks)))


@lt.recorded
def broken_index(number: str) -> str:
    """Fail on the way."""
    raise ZeroDivisionError("the index is broken")


def retrieving_in_vain(number: str) -> str:
    """Answer from an index that is broken."""
    return word(number=broken_index(number))


@functools.cache
def client(url: str) -> Any:
    """Return the process's own client, which lives where it runs."""
    import openai

    return lt.connect(openai.OpenAI(base_url=url, api_key="sk-own-key-of-the-client"))


@lt.predictor
def own(number: str, url: str) -> str:
    """Say a word."""
    prompt = lt.prompt()
    answer = client(url).chat.completions.create(model="small", messages=prompt.messages(), temperature=0.0)
    return str(answer.choices[0].message.content)


def asking_alone(number: str, url: str, marks: str) -> str:
    """Ask with a client of one's own, twice; one of all runs takes its worker down between, once."""
    first = own(number=f"{number} first", url=url)
    if number == "7":
        (Path(marks) / f"{time.monotonic()}").touch()
        if len(list(Path(marks).iterdir())) == 1:
            os._exit(1)
    return f"{first} {own(number=f'{number} second', url=url)}"


@lt.predictor
def secretive(number: str, patient: Annotated[str, lt.Private]) -> str:
    """Say a word."""
    return lt.predict()


def discreet(number: str, patient: str) -> str:
    """Ask with a field that no record may show."""
    return secretive(number=number, patient=patient)


def always(example: Mapping[str, Any], prediction: object) -> bool:
    """Score."""
    return True


def broken_metric(example: Mapping[str, Any], prediction: object) -> bool:
    """Raise."""
    raise KeyError("no such column")


def sneaky(number: str) -> str:
    """Call a predictor that nobody finds by reading."""
    late = word.named("late")
    return late(number=number) + word(number=number)
