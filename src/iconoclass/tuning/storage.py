"""The study itself: an SQLite file beside the runs, or a PostgreSQL database that workers on many machines reach."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from iconoclass.errors import EnvironmentFault, UsageError

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(folder: Path, storage: str | None, name: str) -> optuna.Study:
    """Raises: EnvironmentFault, if the database cannot be reached; UsageError, if it is of an unknown kind."""
    url = address_of(storage) if storage else f"sqlite:///{(folder / 'study.db').resolve()}"
    try:
        kept = optuna.storages.RDBStorage(url, engine_kwargs=_ENGINE[bool(storage)])
        return optuna.create_study(storage=kept, study_name=name, direction="maximize", load_if_exists=True)
    except Exception as error:  # SQLAlchemy's and the driver's own, of many kinds
        hint = "Is it running, and do name and password hold?" if storage else "Is the disk full or read-only?"
        what = f"the study cannot be opened: {type(error).__name__}: {str(error).splitlines()[0]}"
        raise EnvironmentFault(what, hint=hint) from error


# A connection is held only while it is used: trials last minutes, and a hundred workers would keep as many open. An
# SQLite file lets one write at a time: the others wait.
_ENGINE: dict[bool, dict[str, Any]] = {
    False: {"poolclass": NullPool, "connect_args": {"timeout": 120}},
    True: {"poolclass": NullPool},
}


def address_of(storage: str) -> str:
    """What SQLAlchemy takes, with the password of $PGPASSWORD where none is given.

    Raises: UsageError, if it is no address of a PostgreSQL database.
    """
    scheme, colon, rest = storage.partition("://")
    if scheme not in ("postgresql", "postgres") or not colon:
        what = f"--storage must be postgresql://USER:PASSWORD@HOST/DATABASE. Received: {scheme}{colon}..."
        raise UsageError(what, hint="Without it an SQLite file beside the runs is used.")
    url = make_url(f"postgresql+pg8000://{rest}")
    if url.password is None and (password := os.environ.get("PGPASSWORD")):
        url = url.set(password=password)
    return url.render_as_string(hide_password=False)
