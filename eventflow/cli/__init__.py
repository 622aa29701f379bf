"""The command ``eventflow``: reads the first word, and imports only what that command needs.

Exit codes: 0 done; 2 the user's input is wrong (one message, no traceback); 1 our fault; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from eventflow import __version__
from eventflow.errors import InputError, did_you_mean

_HELP = f"""eventflow {__version__}: events in continuous time

usage: eventflow COMMAND [arguments]

train and judge a model
  fit         train; leaves a run folder        eventflow fit --data taxi --model nhp --config fast
  validate    score a checkpoint, validation    eventflow validate --ckpt_path runs/nhp-taxi-...
  test        score it on test events           eventflow test --ckpt_path runs/nhp-taxi-...
  predict     one prediction per test event     eventflow predict --ckpt_path runs/nhp-taxi-...

run it live
  stream      one JSON line out per event in    eventflow stream --checkpoint CKPT --source - --sink -

look at data
  data        list | info | convert | simulate  eventflow data info taxi
              render: as a picture or a film    eventflow data render rec.raw rec.mp4

measure
  bench       speed, ours against peers         eventflow bench scan
              tpp: a leaderboard of models      eventflow bench tpp --data hawkes --model rmtpp --out board
  demo        simulate, fit, stream, one page   eventflow demo --out demo

`eventflow COMMAND --help` explains one. Environment: EVENTFLOW_DATA is the folder with real data;
EVENTFLOW_DEBUG=1 shows tracebacks. Exit codes: 0 done, 2 wrong input, 1 our fault.
"""

#: `eventflow data X` -> the function that does it.
_DATA = {
    "list": ("eventflow.io", "data_list"),
    "info": ("eventflow.io", "data_info"),
    "convert": ("eventflow.io", "data_convert"),
    "render": ("eventflow.vision", "data_render"),
    "simulate": ("eventflow.tpp", "data_simulate"),
}
#: `eventflow data simulate X` where X is no event log.
_SIMULATORS = {"sim_flow": ("eventflow.vision", "data_simulate_flow")}
_USUAL_FORMAT = warnings.formatwarning
_TRAIN = ("fit", "validate", "test", "predict")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    usual, warnings.formatwarning = warnings.formatwarning, _formatted
    try:
        _dispatch(words)
        sys.stdout.flush()
        return 0
    except InputError as error:
        print(f"eventflow: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("eventflow: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader went away, as in `eventflow data list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as done:  # argparse's --help; Lightning's way to end after Ctrl-C
        if isinstance(done.__context__, KeyboardInterrupt):
            print("eventflow: interrupted", file=sys.stderr)
            return 130
        return done.code if isinstance(done.code, int) else 0 if done.code is None else 2
    except Exception as error:
        return _our_fault(error)
    finally:
        warnings.formatwarning = usual


def _formatted(message: Warning | str, category: type[Warning], *where: Any, **line: Any) -> str:
    """A warning of ours is for whoever typed the command: without the place in the code."""
    if category.__module__.partition(".")[0] == "eventflow":
        return f"eventflow: warning: {message}\n"
    return _USUAL_FORMAT(message, category, *where, **line)


def _dispatch(words: list[str]) -> None:
    command, rest = (words[0], words[1:]) if words else ("--help", [])
    if command in ("--help", "-h", "help"):
        print(_HELP, end="")
    elif command in ("--version", "-V"):
        print(f"eventflow {__version__}")
    elif command in _TRAIN:
        import_module("eventflow.train").command(command, rest)
    elif command == "stream":
        import_module("eventflow.cli._stream").run(rest)
    elif command == "data":
        _data(rest)
    elif command == "bench":
        _bench(rest)
    elif command == "demo":
        _call(import_module("eventflow.bench._demo").run, rest, prog="eventflow demo")
    else:
        known = [*_TRAIN, "stream", "data", "bench", "demo", "--help", "--version"]
        raise InputError(f"unknown command {command!r}; {did_you_mean(command, known)}\nSee: eventflow --help")


def _call(function: Callable[..., object], argv: list[str], *, prog: str) -> None:
    from eventflow.cli._signature import call

    call(function, argv, prog=prog)


def _data(words: list[str]) -> None:
    does = {"list": "the catalogue", "info": "a page about a file or a dataset", "convert": "one format into another"}
    does |= {"render": "a recording as a picture or a film", "simulate": "draw a dataset from a law that is known"}
    name = _subcommand("data", words, does)
    if name == "simulate" and words[1:2] and words[1] in _SIMULATORS:
        module, function = _SIMULATORS[words[1]]
        return _call(getattr(import_module(module), function), words[2:], prog=f"eventflow data simulate {words[1]}")
    module, function = _DATA[name]
    _call(getattr(import_module(module), function), words[1:], prog=f"eventflow data {name}")


def _bench(words: list[str]) -> None:
    name = _subcommand("bench", words, benches())
    _call(import_module(f"eventflow.bench._{name}").run, words[1:], prog=f"eventflow bench {name}")


def benches() -> dict[str, str]:
    """name -> first line of its docstring, for every ``eventflow/bench/_<name>.py`` with a ``run``; imports nothing."""
    import ast

    found = {}
    for path in sorted((Path(__file__).resolve().parents[1] / "bench").glob("_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem.removeprefix("_")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    found.pop("demo", None)  # it has a command of its own
    return found


def _subcommand(command: str, words: list[str], known: dict[str, str]) -> str:
    """The word after ``command``, or its help, or an error that names the nearest."""
    if not words or words[0] in ("--help", "-h"):
        lines = [f"  {name:10}{'' if text == name else text}".rstrip() for name, text in known.items()]
        print("\n".join([f"usage: eventflow {command} NAME [arguments]", "", *lines, ""]))
        print(f"`eventflow {command} NAME --help` explains one.")
        raise SystemExit(0 if words else 2)
    if words[0] not in known:
        raise InputError(f"unknown word {words[0]!r} after `eventflow {command}`; {did_you_mean(words[0], known)}")
    return words[0]


def _our_fault(error: Exception) -> int:
    """Say that it is not the user's mistake, and where the traceback lies (EVENTFLOW_DEBUG=1 prints it)."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get("EVENTFLOW_DEBUG", "") not in ("", "0"):
        print(text, end="", file=sys.stderr)
        return 1
    with tempfile.NamedTemporaryFile("w", prefix="eventflow-error-", suffix=".txt", delete=False) as file:
        file.write(text)
    first = (str(error).strip() or "no message").splitlines()[0]
    print(
        f"eventflow: this is our fault, not yours: {type(error).__name__}: {first}\n"
        f"  traceback: {file.name} (EVENTFLOW_DEBUG=1 prints it here)",
        file=sys.stderr,
    )
    return 1
