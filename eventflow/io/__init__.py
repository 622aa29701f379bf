"""The doors: files in every format to :class:`~eventflow.events.Events` and back, and the catalogue of datasets."""

from __future__ import annotations

from eventflow.io._card import Card as Card
from eventflow.io._catalogue import card as card
from eventflow.io._catalogue import list_datasets as list_datasets
from eventflow.io._catalogue import load_dataset as load_dataset
from eventflow.io._columns import LogColumns as LogColumns
from eventflow.io._hub import load_hub as load_hub
from eventflow.io._read import read_events as read_events
from eventflow.io._report import ReadReport as ReadReport
from eventflow.io._report import ReadWarning as ReadWarning
from eventflow.io._sniff import FORMATS as FORMATS
from eventflow.io._write import write_events as write_events
