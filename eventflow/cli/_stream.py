"""``eventflow stream``: a trained model, or one that learns as it goes, live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eventflow.cli._learner import load_learner
from eventflow.cli._signature import call
from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.nn._saved import read_checkpoint
from eventflow.online import Operator, StreamOptions, stream_command
from eventflow.online._run import fingerprint
from eventflow.tpp import PointProcess, StreamLearner, load_model, save_model
from eventflow.train._references import find_checkpoint


@dataclass(frozen=True, kw_only=True)
class StreamWords:
    """Run a trained model live: read events, step the model, write one prediction per event.

    Events are JSON lines like {"key": "user-7", "t": 12.5, "mark": 3}; answers have the same key and t, and nll (of
    this event, given the past; null for a given first event), next_t (the median time of the key's next event) and
    next_mark_probs. URIs: - (stdin, stdout), a path (.jsonl, .txt, .csv, .parquet), tcp://host:port (a source listens
    there, a sink connects), udp://host:port?format=spif (an event camera: the mark is the polarity; ?key=pixel).

    With --snapshot, output of killed and resumed runs together is identical to that of an uninterrupted one (redirect
    with >> instead of >; a pipe as source must send its stream from the beginning again). A pipe or socket as sink gets
    the lines since the last snapshot again: its lines carry "seq", their number.

      eventflow stream --checkpoint runs/nhp-taxi-... --source events.jsonl --sink predictions.jsonl
      tail -n +1 -f log.jsonl | eventflow stream --checkpoint runs/nhp-taxi-... --snapshot state/
      eventflow stream --learner models/event_gvfs --start 0 --source events.jsonl --sink values.jsonl

    With --learn a point process goes on learning: its weights stand still for 64 events, which are answered, and then
    take a step on those events; prompts and the rest at their own rates. Memory is constant, a killed run resumes
    exactly, and the prequential nll (of events before they are learned from) is reported.

      eventflow stream --checkpoint runs/promptnhp-taobao_days-... --source log.jsonl --learn --learn.save learned.ckpt

    With the checkpoint of a flow network, the source is an event camera (udp://host:port?format=spif&width=...) or its
    recording in any format, and a flow field comes out every step (10 ms at 100 Hz): sink flow.npz holds the fields,
    flow.mp4 and flow.gif are films, .jsonl (or -, tcp://) has a line of numbers a field.

      eventflow stream --checkpoint flow.ckpt --source recording.raw --sink flow.npz --view

    Args:
        checkpoint: a run folder (its best one) or a .ckpt file.
        learner: instead of a checkpoint, what learns from the stream itself: a learner.yaml, or a folder with one.
        source: where events come from.
        sink: where predictions go.
        snapshot: a folder; with it a run that was killed goes on where it stood, and nothing is lost or repeated.
        lateness: how much later than a younger event one may arrive and still be put in order, in the data's unit.
        start: when the observation of every key began: its first gap is measured from there, and scored; by default
            what the training data said.
        every: events after which a snapshot is taken.
        seconds: seconds after which one is taken, if sooner.
        dead_letters: where lines that are no events, and late ones, go with the reason; by default beside the sink.
        chunk: lines read at once, at most; fewer answer sooner under load, more run faster.
        max_batch: keys stepped at once, at most; it changes no number.
        max_keys: keys held, at most; events of further keys become dead letters.
        learn: learn from every event after it was answered.
        learn__every: events from one step of learning to the next.
        learn__context: events of a key's past through which gradients flow.
        learn__lr: of Adam.
        learn__save: write the model there when the stream ends, as a checkpoint.
        view: of a flow network: show events and flow meanwhile, in rerun (extra view) where it is installed and there
            is a screen, else as pictures in the folder flow_view.
        view_to: show them there: a folder for pictures, FILE.gif or FILE.mp4 for a film, or FILE.rrd for rerun.
    """

    checkpoint: str | None = None
    learner: str | None = None
    source: str = "-"
    sink: str = "-"
    snapshot: Path | None = None
    lateness: float = 0.0
    start: float | None = None
    every: int = 100_000
    seconds: float = 30.0
    dead_letters: Path | None = None
    chunk: int = 4096
    max_batch: int = 1024
    max_keys: int | None = None
    learn: bool = False
    learn__every: int = 64
    learn__context: int = 16
    learn__lr: float = 1e-3
    learn__save: Path | None = None
    view: bool = False
    view_to: Path | None = None


#: What says nothing to a flow network.
_OF_LEARNING = ("learn__every", "learn__context", "learn__lr", "learn__save")
_OF_EVENTS = ("lateness", "start", "dead_letters", "chunk", "max_batch", "max_keys", "learn", *_OF_LEARNING)


def run(argv: Sequence[str]) -> None:
    """``eventflow stream <argv>``."""
    words = call(StreamWords, argv, prog="eventflow stream")
    if words.checkpoint is not None and words.learner is None:
        path = find_checkpoint(words.checkpoint, resume=False, flag="--checkpoint")
        if "representation" in read_checkpoint(path)[0]:
            return _run_flow(path, words)
    if words.view or words.view_to is not None:
        raise InputError("eventflow stream: --view shows optical flow, and this is no flow network's checkpoint")
    operator, schema, start = _operator(words)
    given = schema.given_first and words.start is None
    options = StreamOptions(
        schema=replace(schema, given_first=given),
        start=None if given else start if words.start is None else words.start, lateness=words.lateness,
        snapshot=words.snapshot, every=words.every, seconds=words.seconds, dead_letters=words.dead_letters,
        chunk=words.chunk, max_batch=words.max_batch, max_keys=words.max_keys,
    )  # fmt: skip
    learner = _learner(words, operator)
    if learner is None:
        stream_command(operator, words.source, words.sink, options)
        return
    settings = f"learn every {learner.block}, context {learner.context}, lr {learner.lr!r}"
    options = replace(options, identity=f"{fingerprint(learner.module)} {settings}")
    stream_command(learner, words.source, words.sink, options)
    if words.learn__save is not None:
        save_model(learner.module.float(), words.learn__save, schema=schema, start=start)


def _learner(words: StreamWords, operator: Operator) -> StreamLearner | None:
    """What learns as it runs, if that is wanted."""
    plain = StreamWords()
    if not words.learn:
        for name in _OF_LEARNING:
            if getattr(words, name) != getattr(plain, name):
                raise InputError(f"eventflow stream: --{name.replace('__', '.')} without --learn; add --learn")
        return None
    if not isinstance(operator, PointProcess):
        raise InputError("eventflow stream: --learn is for checkpoints of point processes; a --learner learns anyway")
    save = words.learn__save
    if save is not None and not save.absolute().parent.is_dir():
        raise InputError(f"--learn.save {save}: there is no folder {save.parent}. Write: mkdir -p {save.parent}")
    return StreamLearner(operator, block=words.learn__every, context=words.learn__context, lr=words.learn__lr)


def _run_flow(path: Path, words: StreamWords) -> None:
    from eventflow.cli._flow import stream_flow
    from eventflow.vision._flow_stream import FlowStreamOptions

    plain = StreamWords()
    for name in _OF_EVENTS:
        if getattr(words, name) != getattr(plain, name):
            flag = name.replace("__", ".")
            raise InputError(f"eventflow stream: --{flag} is for models of events, not for flow networks ({path})")
    every = FlowStreamOptions().every if words.every == plain.every else words.every
    options = FlowStreamOptions(words.snapshot, every, words.seconds)
    stream_flow(path, words.source, words.sink, options, view=words.view, view_to=words.view_to)


def _operator(words: StreamWords) -> tuple[Operator, Schema, float | None]:
    """What runs, the schema of its events, and when observation began, where that is known."""
    if (words.checkpoint is None) == (words.learner is None):
        both = "neither --checkpoint nor --learner" if words.learner is None else "both --checkpoint and --learner"
        raise InputError(f"eventflow stream: {both} was given; expected one. Write: --checkpoint runs/...")
    if words.learner is not None:
        return *load_learner(words.learner), None
    assert words.checkpoint is not None
    return load_model(find_checkpoint(words.checkpoint, resume=False, flag="--checkpoint"))
