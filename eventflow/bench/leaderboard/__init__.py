"""The parts of ``eventflow bench tpp``.

    _plan       models x datasets -> one configuration each, resolved and checked before anything runs
    _store      where everything lies in the output folder, written whole or not at all
    _jobs       one cell (train, judge), one dataset's baselines, one trial of a search: plain data in, a file out
    _executors  jobs one after the other, in processes of this machine, or on a Ray cluster
    _worker     such a process
    _progress   what the terminal shows meanwhile
    _tune       the search for hyperparameters, on validation nll only
    _board      the files as rows: means, spreads, and what may be called best
    _text       a board as Markdown and as JSON
    _page       a board as one HTML file
"""
