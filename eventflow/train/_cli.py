"""``eventflow fit | validate | test | predict``: LightningCLI, with our defaults, run folders and messages."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as L
import yaml
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from eventflow.errors import InputError, require
from eventflow.tpp import load_model
from eventflow.train._command import RUN_VARIABLE
from eventflow.train._data import EventData
from eventflow.train._keys import Part, check_config, check_flag, check_part, import_class
from eventflow.train._references import Source, run_folder
from eventflow.train._report import prediction_file, report_text, test_report, write_predictions
from eventflow.train._run import EpochTable, new_run_folder, write_whole
from eventflow.train._task import PointProcessTask
from eventflow.train._watch import Pass, Watch

#: What a model is watched by and takes from the data, unless its class says otherwise (MONITOR, FROM_DATA).
MONITOR = "val/nll_per_event"
FROM_DATA = ("num_marks", "time_scale", "events_per_sequence")


class Parser(LightningArgumentParser):
    """Raises :class:`InputError` in one line instead of printing the usage and exiting."""

    def error(self, message: Any, ex: Exception | None = None) -> NoReturn:
        """Called by jsonargparse with what is wrong."""
        if isinstance(ex, InputError):
            raise ex
        text = " ".join(str(message).split()).replace("<class '", "'")
        raise InputError(re.sub(r"required: \w+\.", "required: --", text))


def _told(fact: str, kind: type | None, data: L.LightningDataModule) -> Any:
    """What the data tells the model.

    Raises:
        InputError: this is data for models of another kind.
    """
    if not hasattr(data, fact):
        raise InputError(
            f"--data and --model do not go together: {kind.__name__ if kind else 'the model'} needs {fact}, which "
            f"{type(data).__name__} does not know. models/README.md says which models learn from what"
        )
    return getattr(data, fact)


class SaveConfig(SaveConfigCallback):
    """config.yaml in the run folder; a resumed run keeps the first one and adds config.resumed-<n>.yaml."""

    def __init__(self, parser: LightningArgumentParser, config: Any, **kwargs: Any) -> None:
        again = config.clone()
        again["out"] = None
        again["ckpt_path"] = None
        super().__init__(parser, again, **kwargs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called by Lightning before training starts."""
        if stage == "fit":
            resumed = len(list(Path(trainer.default_root_dir).glob("config*.yaml")))
            if resumed and trainer.is_global_zero:
                self.config_filename = f"config.resumed-{resumed}.yaml"
            super().setup(trainer, pl_module, stage)


class TrainCLI(LightningCLI):
    """One command, from its arguments to its run folder."""

    def __init__(
        self, command: str, words: list[str], sources: list[Source], watch: Callable[[Pass], bool] | None = None
    ) -> None:
        self.words, self.sources = [command, *words], sources
        self.watches = [] if watch is None else [Watch(watch)]
        arguments = LightningCLI.subcommands()[command]
        self.subcommands = lambda: {command: arguments}  # the parsers of the other three would cost a second
        self.folder: Path | None = None
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SaveConfig,
            seed_everything_default=0,
            trainer_defaults={
                "max_epochs": 100, "num_sanity_val_steps": 0, "enable_model_summary": False,
                "use_distributed_sampler": False, "devices": 1, "log_every_n_steps": 1,
            },  # fmt: skip
            parser_class=Parser,
            parser_kwargs={"prog": "eventflow", "allow_abbrev": False, command: {"allow_abbrev": False}},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )  # fmt: skip

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What the data tells the model, and the callbacks that every run has."""
        kind = self._task_class()
        monitor, mode = getattr(kind, "MONITOR", (MONITOR, "min"))
        for fact in getattr(kind, "FROM_DATA", FROM_DATA):
            tell = partial(_told, fact, kind)
            parser.link_arguments("data", f"model.init_args.{fact}", compute_fn=tell, apply_on="instantiate")
        parser.add_argument("--out", type=str | None, default=None, help="Run folder of fit, output file of predict.")
        parser.add_argument("--tensorboard", type=bool, default=False, help="Write TensorBoard files too (extra viz).")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "early_stopping.monitor": monitor, "early_stopping.patience": 10, "checkpoint.monitor": monitor,
                "early_stopping.mode": mode, "checkpoint.mode": mode,
                "checkpoint.filename": "best", "checkpoint.save_on_train_epoch_end": True,
            }
        )  # fmt: skip

    def _task_class(self) -> type | None:
        """The class that --model or a --config names, if one does so far."""
        for source in reversed(self.sources):
            spec = source.content if source.kind == "model" else source.content.get("model")
            if isinstance(spec, dict) and "class_path" in spec and source.kind in ("model", "config"):
                return import_class(spec["class_path"], source.name)
        return None

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Refuse unknown keys in files and flags, then parse."""
        sub = self._subcommand_parsers[self.words[0]]
        flags = [flag[2:] for flag in sub._option_string_actions if flag.startswith("--")]
        parts: dict[str, Part] = {}
        for source in self.sources:
            where, content = f"{source.name}: ", source.content
            if source.kind == "config":
                parts = check_config(content, where, flags, parts)
            else:
                parts[source.kind] = check_part(content, where, parts.get(source.kind, Part()))
        for word, after in zip(self.words[1:], [*self.words[2:], None], strict=True):
            if word.startswith("--"):
                flag, given, value = word.partition("=")
                parts = check_flag(flag, value if given else after, flags, parts)
        self.config = parser.parse_args(self.words)

    def _parse_ckpt_path(self) -> None:
        """A checkpoint never changes what was asked for; whether it fits is checked before the run."""

    # -- the run --------------------------------------------------------------------------------------------------

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; what a constructor raises comes through without jsonargparse's wrapping."""
        try:
            super().instantiate_classes()
        except (ValueError, AttributeError) as error:  # the latter from Lightning, asked for a text of our data
            cause: BaseException = error
            while not isinstance(cause, InputError) and (before := cause.__cause__ or cause.__context__) is not None:
                cause = before
            if isinstance(cause, InputError) or isinstance(error, ValueError):
                raise cause from None
            raise

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer; for fit with its run folder, its tables, and last.ckpt after every epoch (to resume)."""
        given = self._get(self.config_init, "trainer")
        bar = given.get("enable_progress_bar") is not False and sys.stdout.isatty()
        if self.subcommand != "fit":
            alone = {"devices": 1, "num_nodes": 1, "strategy": "auto", "precision": None}  # judging is in float64
            plain = {"logger": False, "callbacks": None, "enable_checkpointing": False, "enable_progress_bar": bar}
            return self._instantiate_trainer({**given, **alone, **plain}, list(self.watches))
        self.folder = self._run_folder()
        checkpoint = self._get(self.config_init, "checkpoint")
        if checkpoint.dirpath is None:
            checkpoint.dirpath = str((self.folder / "checkpoints").resolve())
        last = ModelCheckpoint(checkpoint.dirpath, filename="last", save_on_train_epoch_end=True)
        self.trainer_defaults["callbacks"] = [last, *([RichProgressBar()] if bar else []), *self.watches]
        return super().instantiate_trainer(
            default_root_dir=str(self.folder), logger=self._loggers(given.get("logger")), enable_progress_bar=bar
        )

    def _loggers(self, given: Any) -> list[Logger]:
        assert self.folder is not None
        loggers: list[Logger] = [EpochTable(self.folder / "metrics.csv", lines=not sys.stdout.isatty())]
        if self._get(self.config, "tensorboard"):
            require("tensorboard", "viz")
            loggers.append(TensorBoardLogger(self.folder, name="", version="tensorboard"))
        if given in (None, True, False):
            return loggers
        return loggers + (given if isinstance(given, list) else [given])

    def _run_folder(self) -> Path:
        if RUN_VARIABLE in os.environ:  # this process was started by a run: same folder
            return Path(os.environ[RUN_VARIABLE])
        out, resumed = self._get(self.config, "out"), self._get(self.config, "ckpt_path")
        if resumed is not None and out is None and Path(resumed).name == "last.ckpt":
            if (folder := run_folder(Path(resumed))) is not None:
                return folder
        return new_run_folder(f"{title(self.model)}-{title(self.datamodule)}", out)

    def before_fit(self) -> None:
        """Refuse the checkpoint of another model before anything is written; take the folder."""
        assert self.folder is not None
        self._check_checkpoint()
        if self.trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
        os.environ[RUN_VARIABLE] = str(self.folder)

    def after_fit(self) -> None:
        """Say how it ended, where everything lies, and what to write next."""
        best = self.trainer.checkpoint_callback
        if not (self.trainer.is_global_zero and isinstance(best, ModelCheckpoint) and best.monitor):
            return
        last = self.trainer.callback_metrics.get(best.monitor)
        if last is not None and not last.isfinite():
            print(
                f"eventflow: {best.monitor} became {float(last)}: training diverged. Try a smaller "
                "--model.optimizer.lr, or --trainer.gradient_clip_val 1",
                file=sys.stderr,
            )
        stopping = self.trainer.early_stopping_callback
        if isinstance(stopping, EarlyStopping) and stopping.stopped_epoch:
            print(f"stopped early: no better {stopping.monitor} for {stopping.patience} epochs")
        if best.best_model_score is not None:
            print(f"best {best.monitor} {float(best.best_model_score):.4f}: {os.path.relpath(best.best_model_path)}")
            print(f"next: eventflow test --ckpt_path {self.folder}")

    # -- judging --------------------------------------------------------------------------------------------------

    def validate(self, **kwargs: Any) -> None:
        """Score the validation split with a checkpoint; prints one line."""
        self._check_checkpoint()
        numbers = self.trainer.validate(**{**kwargs, "verbose": False})[0]
        print("  ".join(f"{name} {value:.6f}" for name, value in numbers.items()))

    def test(self, **kwargs: Any) -> None:
        """Score the test split with a checkpoint: one table, and metrics.json in the run folder."""
        self._check_checkpoint()
        numbers = self.trainer.test(**{**kwargs, "verbose": False})[0]
        if numbers:
            print("  ".join(f"{name} {value:.6f}" for name, value in numbers.items()))
        path = self._checkpoint_path()
        judged: Any = getattr(self.model, "report", None)
        if isinstance(self.model, PointProcessTask) and isinstance(self.datamodule, EventData):
            report = test_report(self.model, self.datamodule, config=self._config_data(), checkpoint=path)
            text = report_text(report)
        elif judged is not None:  # a task that reports itself
            report, text = judged(self.datamodule, config=self._config_data(), checkpoint=path)
        else:
            return
        print(text)
        target = (run_folder(path) or path.parent) / "metrics.json"
        write_whole(target, json.dumps(report, indent=1) + "\n")
        print(f"written: {target}")

    def predict(self, **kwargs: Any) -> None:
        """One row per scored event of the test split, into a parquet or JSON lines file; flow as DSEC takes it."""
        path = self._checkpoint_path()
        if hasattr(self.model, "submission"):
            out = self._get(self.config, "out") or (run_folder(path) or path.parent) / "submission"
            self.model.submission = Path(out)
            files = self.trainer.predict(**{**kwargs, "return_predictions": True}) or []
            print(f"written: {sum(map(len, files))} maps of {len(files)} recordings in {self.model.submission}")
            return
        out = self._get(self.config, "out") or (run_folder(path) or path.parent) / "predictions.parquet"
        target = prediction_file(Path(out))
        self._check_checkpoint()
        parts = self.trainer.predict(**{**kwargs, "return_predictions": True})
        print(f"written: {write_predictions(target, parts or [])}")

    def _checkpoint_path(self) -> Path:
        return Path(self._get(self.config, "ckpt_path"))

    def _check_checkpoint(self) -> None:
        """Refuse the checkpoint of another model; one of this model and other data brings its own time scale along."""
        if self._get(self.config, "ckpt_path") is None or not isinstance(self.model, PointProcessTask):
            return
        path = self._checkpoint_path()
        trained = load_model(path).model
        if self.subcommand != "fit":
            self.model.adopt(trained)
        self.model.check(trained.class_path, trained.init_args, str(path))

    def _config_data(self) -> dict[str, Any]:
        """What was asked for, as plain data, without the trainer's machinery."""
        sub = self._subcommand_parsers[str(self.subcommand)]
        plain = yaml.safe_load(sub.dump(self.config[str(self.subcommand)], format="yaml"))
        return {key: plain[key] for key in ("seed_everything", "data", "model") if key in plain}


def title(part: Any) -> str:
    """What run folders call a model or a dataset."""
    return str(getattr(part, "title", type(part).__name__.lower()))
