import json
from pathlib import Path

import pytest

from gateway.observers.redaction.personal import PERSONAL as PERSONAL_SHAPES
from gateway.observers.redaction.redact import Redactor
from gateway.observers.redaction.shapes import CREDENTIALS as CREDENTIAL_SHAPES
from gateway.policy.snapshot import Redaction
from tests.redaction.corpus import HELD_BACK_SET, TUNING_SET, Sample, Set
from tests.redaction.credentials import CREDENTIALS, TOTAL
from tests.redaction.look_alikes import LOOK_ALIKES
from tests.redaction.measure import right, tables, tally
from tests.redaction.personal import PERSONAL

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "redaction.md"
SETS = pytest.mark.parametrize("of", [TUNING_SET, HELD_BACK_SET], ids=lambda of: of.name)


def test_the_corpus_holds_every_kind_that_the_redactor_knows() -> None:
    assert {shape.kind for shape in CREDENTIAL_SHAPES} <= CREDENTIALS.keys()
    assert {shape.kind for shape in PERSONAL_SHAPES} == PERSONAL.keys()
    assert len(CREDENTIALS) >= 26


def test_the_held_back_samples_share_neither_value_nor_document_with_the_tuned_ones() -> None:
    tuned = {s.secret for s in TUNING_SET.samples() if s.secret}
    held_back = {s.secret for s in HELD_BACK_SET.samples() if s.secret}
    assert len(tuned & held_back) < 5, "short ones may meet by chance"
    assert not {place.text for place in TUNING_SET.surroundings} & {place.text for place in HELD_BACK_SET.surroundings}


@SETS
def test_at_least_98_in_100_credentials_are_hidden(of: Set) -> None:
    assert tally(of).share(CREDENTIALS) >= 0.98


@SETS
@pytest.mark.parametrize("kind", TOTAL)
def test_of_the_gravest_kinds_every_one_is_hidden(of: Set, kind: str) -> None:
    missed = [(sample.form, sample.written, shown) for sample, shown in tally(of).wrong if sample.kind == kind]
    assert not missed


@SETS
def test_at_least_95_in_100_pieces_of_personal_data_are_hidden(of: Set) -> None:
    assert tally(of).share(PERSONAL) >= 0.95
    assert all(tally(of).share({kind}) >= 0.95 for kind in PERSONAL)


@SETS
def test_at_least_99_in_100_look_alikes_are_kept(of: Set) -> None:
    assert tally(of).share(LOOK_ALIKES) >= 0.99


@SETS
def test_what_is_taken_for_a_secret_is_one(of: Set) -> None:
    result = tally(of)
    assert all(result.precision(kind) >= 0.9 for kind in (*CREDENTIALS, *PERSONAL))
    hidden, mistaken = sum(result.right[kind] for kind in (*CREDENTIALS, *PERSONAL)), result.false_marks.total()
    assert hidden / (hidden + mistaken) >= 0.99


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else None


@SETS
def test_a_document_keeps_its_shape_whatever_is_hidden_in_it(of: Set) -> None:
    redactor = Redactor(Redaction())
    documents = [s.document for s in of.samples() if s.form.startswith("JSON") and s.form != "JSON lines"]
    assert len(documents) > 500
    for document in documents:
        assert _shape(json.loads(redactor.scrub(document.encode()))) == _shape(json.loads(document))


def test_the_documentation_reports_what_is_measured() -> None:
    assert tables() in DOCUMENTATION.read_text(), "python -m tests.redaction.measure prints the tables anew"


def test_a_secret_that_is_shown_and_a_look_alike_that_is_hidden_are_noticed() -> None:
    secret = Sample("github_token", "JSON", "", "ghx_0123456789abcdef", "")
    assert not right(secret, "it was 456789ab…")
    assert not right(secret, "it was %67hx%5F0123456789abcdef")
    assert right(secret, "it was [redacted]")
    assert not right(Sample("uuid", "alone", "abc", None, "abc"), "[redacted]")
