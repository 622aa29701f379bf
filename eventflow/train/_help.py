"""The page of ``eventflow fit --help``: what is needed every day. LightningCLI's own has every option there is."""

from __future__ import annotations

import textwrap

from eventflow.train._references import names

_USAGE = {
    "fit": """usage: eventflow fit --data D --model M [--config C ...] [--KEY VALUE ...]
       eventflow fit --ckpt_path RUN                              resume it, with the same bits

Train a model by maximum likelihood, with early stopping on the validation split; or a network of optical flow, as in
eventflow fit --data sim_flow --model lstm_flownet (which simulates its data first, where there is none); or let an
agent learn from an environment, as in eventflow fit --data cartpole --model stream_q. Leaves a run folder,
runs/<model>-<data>-<time>/ with config.yaml, metrics.csv, checkpoints/{best,last}.ckpt.""",
    "validate": """usage: eventflow validate --ckpt_path RUN

Print the nll per event of the validation split; of flow, its end-point error.""",
    "test": """usage: eventflow test --ckpt_path RUN

Judge a checkpoint on the test split, in float64: exact nll, EasyTPP's nll, accuracy, errors of the predicted gap,
beside the trivial baselines; flow: end-point, n-pixel and angular errors at every step and at 10 Hz, spikes and energy.
Prints one table and writes metrics.json into the run folder.""",
    "predict": """usage: eventflow predict --ckpt_path RUN [--out FILE.parquet|FILE.jsonl]

Write what was forecast before every scored event of the test split, one row an event. Flow: --out FOLDER, 16-bit PNGs
as DSEC's benchmark takes them.""",
}

_OPTIONS = """
  --data D                        a dataset's name, the folder of one, or of train, val and test files, or a YAML
  --model M                       a model's name, the folder of one, or a YAML
  --config C                      a recipe: a name in configs/, or a YAML; later ones override earlier ones
  --ckpt_path RUN                 a run folder, or a .ckpt file; brings the configuration of its run along
  --out PATH                      where to write (fit: a new folder; predict: a new file)
  --seed_everything N             0 by default
  --trainer.max_epochs N          100 by default; any argument of lightning's Trainer:
  --trainer.devices N             with --trainer.strategy ddp: the same gradients as one process with N times the batch
  --data.batch_size N             any argument of the data's class
  --model.network.hidden_size N   any argument of the model's class
  --model.optimizer.lr X          any argument of the optimizer's class (--model.optimizer AdamW takes another)
  --early_stopping.patience N     epochs without improvement, 10 by default
  --tensorboard true              write TensorBoard files too
  --print_config                  show the whole configuration and stop
  --help-all                      every option there is
"""


def page(command: str) -> str:
    """The short help of one command."""
    known = "\n".join(_wrapped(f"{kind}s", names(kind)) for kind in ("data", "model", "config"))
    return f"{_USAGE[command]}\n{_OPTIONS}\nknown names\n{known}\n"


def _wrapped(title: str, found: list[str]) -> str:
    first = f"  {title:9}".replace("datas", "data ")
    return textwrap.fill(", ".join(found), 118, initial_indent=first, subsequent_indent=" " * len(first))
