"""The doors: files in every format to :class:`~eventflow.events.Events` and back, and the catalogue of datasets.

A reader notices things on the way; the info page tells them. ``ReadReport.facts`` may hold ``out_of_order`` (rows
before their predecessor), ``deltas`` and ``deltas_disagree`` (EasyTPP layout), ``skip_lines`` (lines left out as
declared), ``float32:<column>`` (times stored in float32), and of cameras ``broken`` (reading ended early) and
``assumed`` (what no header says was taken for granted; the notes say what).
"""

from __future__ import annotations

from eventflow.io._card import Card as Card
from eventflow.io._catalogue import card as card
from eventflow.io._catalogue import list_datasets as list_datasets
from eventflow.io._catalogue import load_dataset as load_dataset
from eventflow.io._columns import LogColumns as LogColumns
from eventflow.io._commands import data_convert as data_convert
from eventflow.io._commands import data_info as data_info
from eventflow.io._commands import data_list as data_list
from eventflow.io._commands import info_pages as info_pages
from eventflow.io._read import open_recording as open_recording
from eventflow.io._read import read_events as read_events
from eventflow.io._read import read_with_report as read_with_report
from eventflow.io._report import ReadReport as ReadReport
from eventflow.io._report import ReadWarning as ReadWarning
from eventflow.io._sniff import FORMATS as FORMATS
from eventflow.io._write import write_events as write_events
from eventflow.io.cameras import Recording as Recording
from eventflow.io.easytpp._hub import load_hub as load_hub
from eventflow.io.info._info import Info as Info
from eventflow.io.info._info import describe as describe
from eventflow.io.info._page import render as render
from eventflow.io.live._open import open_camera as open_camera
from eventflow.io.live._send import CameraSink as CameraSink
from eventflow.io.live._stream import CameraStream as CameraStream
from eventflow.io.live._uri import Sink as Sink
from eventflow.io.live._uri import Source as Source
from eventflow.io.live._uri import open_sink as open_sink
from eventflow.io.live._uri import open_source as open_source
