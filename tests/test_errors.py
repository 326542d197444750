"""Errors say what is wrong and what to do, and each kind has one exit status."""

from __future__ import annotations

import pytest

from iconoclass import errors
from iconoclass.errors import DataError, IconoclassError, UsageError, did_you_mean, pick

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, IconoclassError)]
EXIT_STATUSES = {1, 2, 3, 4, 5, 6, 7, 130, 143}


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_code_and_one_of_the_promised_exit_statuses(kind: type[IconoclassError]) -> None:
    error = kind("what", hint="Do that.")
    assert error.exit_status in EXIT_STATUSES
    assert str(error) == f"error[{error.code}]: what. Do that."
    assert error.code == error.code.upper()


def test_no_two_kinds_of_error_share_a_code() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(codes) == len(set(codes))


def test_a_sentence_that_has_its_full_stop_does_not_get_a_second_one() -> None:
    assert str(DataError("nothing there.")) == "error[DATA]: nothing there."
    assert str(DataError("really?", hint="Yes.")) == "error[DATA]: really? Yes."


def test_a_code_of_its_own_is_used_and_leaves_the_class_as_it_was() -> None:
    assert str(DataError("x", code="FOLDER")).startswith("error[FOLDER]")
    assert DataError.code == "DATA"


@pytest.mark.parametrize("word", ["mnits", "MNIST", "minst"])
def test_the_nearest_word_is_suggested_whatever_its_case(word: str) -> None:
    assert "Did you mean 'mnist'?" in did_you_mean(word, ["digits", "mnist", "cifar10"])


def test_what_resembles_nothing_gets_the_whole_list_and_no_guess() -> None:
    assert did_you_mean("xyzzy", ["mnist", "cifar10"]) == "Allowed: mnist, cifar10."


def test_a_name_is_looked_up_or_refused_in_the_users_own_words() -> None:
    assert pick({"adam": 1}, "adam", "optimizer") == 1
    with pytest.raises(UsageError, match="there is no optimizer 'adma'") as caught:
        pick({"adam": 1}, "adma", "optimizer")
    assert caught.value.code == "UNKNOWN_NAME"
    assert "'adam'" in caught.value.hint
