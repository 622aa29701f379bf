"""The parts of ``eventflow bench continual``.

_jobs    models x learners x seeds and orders -> one job each, resolved and checked before anything runs
_cell    one job: learn a stream task by task, judge every task after every task; plain data in, a file out
_board   the files as rows: means, spreads, distances to the oracle
_pictures, _page, _text   a board as figures, as one HTML file, as Markdown and as JSON
_publish results of a dataset, for the project
"""
