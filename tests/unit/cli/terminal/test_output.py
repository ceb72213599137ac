"""Tables fit, times have one style, identities are those that people type."""

import pytest

from collective.cli import audit, grants
from collective.cli.datastores import datastore_json
from collective.cli.identity_devices import identity_lines
from collective.cli.overview import overview
from collective.cli.status import show, status_json
from collective.cli.terminal import output
from collective.cli.terminal.style import WIDTH, Style
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.core.work import Report, State
from collective.model.datastores import Datastore
from collective.model.people import CertificateRecord, DeviceRecord, IdentityRecord
from collective.model.rights import GrantTerms
from collective.model.status import NodeCodeStatus
from tests.values import ALICE, OPERATOR, a_status, user

MOMENT_MS = 1_795_370_400_250


def test_a_table_that_fits_is_one_line_a_row() -> None:
    assert output.table_lines(("A", "B"), [("x y", "z")]) == ["A    B", "x y  z"]


def test_a_table_is_never_wider_than_its_limit_where_words_allow_it() -> None:
    rows = [("2026-11-22T18:00:00Z", "bob@home.alice", "stat", "/x", "denied: " + "why not " * 30)]
    found = output.table_lines(("AT", "WHO", "WHAT", "ON", "DETAIL"), rows)
    assert max(map(len, found)) <= WIDTH
    assert found[1].startswith("2026-11-22T18:00:00Z  bob@home.alice  stat  /x  denied: why not")
    assert " ".join(" ".join(found[1:]).split()).count("why not") == 30
    long = output.table_lines(("A", "B"), [("x" * 90, "y" * 30)])
    assert long[1] == f"{'x' * 90}  {'y' * 30}", "no word is cut"


def test_times_for_people_are_utc_by_the_second() -> None:
    assert output.moment(MOMENT_MS) == "2026-11-22T18:00:00Z"
    assert output.when(MOMENT_MS) == "2026-11-22T18:00:00.250Z"
    assert output.moment(0, "never") == "never"


def test_devices_are_listed_within_the_width_and_say_what_they_are() -> None:
    certificates = [CertificateRecord("ab" * 20, MOMENT_MS, revoked=False)]
    device = DeviceRecord(bytes(32), 0, vouched=False, revoked=True, certificates=certificates)
    lines = identity_lines(
        IdentityRecord(
            user("bob"), "", OPERATOR, 0, revoked=False, certificates=(), devices=[device]
        )
    )
    assert lines == [
        "bob@home.alice",
        f"  device  key:{'00' * 32}",
        "          revoked, until 2026-11-22T18:00:00Z",
        f"          serial:{'ab' * 20}",
    ]


def test_workers_stand_in_the_status_and_in_the_table_for_people_who_ask(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = a_status(
        workers=[
            Report("repair", State.WAITING, MOMENT_MS, 7, "", None, 0.0, 0.0),
            Report("snapshot", State.FAILING, 0, None, "Full.", 1.5, 0.0, 0.0),
        ]
    )
    assert status_json(told)["workers"] == [
        {
            "name": "repair", "state": "waiting", "last_success": "2026-11-22T18:00:00.250Z",
            "queue": 7, "error": "", "next_s": None,
        },
        {
            "name": "snapshot", "state": "failing", "last_success": None,
            "queue": None, "error": "Full.", "next_s": 1.5,
        },
    ]  # fmt: skip
    show(told, Style())
    assert "snapshot" not in capsys.readouterr().out
    show(told, Style(), with_workers=True)
    assert "Full." in capsys.readouterr().out


def test_status_json_has_warnings_and_the_node_code() -> None:
    code = NodeCodeStatus(uses_left=97, enrolled=3, expires_ms=MOMENT_MS)
    facts = status_json(a_status(warnings=["Look."], node_code=code))
    assert facts["warnings"] == ["Look."]
    assert facts["node_code"] == {
        "uses_left": 97, "enrolled": 3, "expires": "2026-11-22T18:00:00.250Z",
    }  # fmt: skip
    empty = status_json(a_status())
    assert (empty["warnings"], empty["node_code"]) == ([], None)
    told = Style().fields(overview(a_status(caller=OPERATOR)))
    assert "You          the operator of home.alice" in told


def test_the_audit_shows_beginnings_of_digests_and_names_whole() -> None:
    assert (
        audit.brief(f"key:{'ab' * 32}, serial {'01' * 20}")
        == "key:abababababab…, serial 010101010101…"
    )
    assert audit.brief("/media/deadbeef of bob@home.alice") == "/media/deadbeef of bob@home.alice"


def test_no_policy_is_null_in_json() -> None:
    facts = datastore_json(Datastore(FilePath.parse("/d"), None, 0, 0, 0, 0), ALICE)
    assert facts["owner"] == str(OPERATOR)
    assert (facts["copies"], facts["quota_bytes"], facts["used_bytes"]) == (None, None, 0)


@pytest.mark.parametrize(
    ("path", "rights", "giver", "is_told"),
    [
        ("/", {"read", "write", "share"}, OPERATOR, True),
        ("/", {"read", "write"}, OPERATOR, False),
        ("/d", {"read", "write", "share"}, OPERATOR, False),
        ("/", {"read", "write", "share"}, user("bob"), False),
    ],
)
def test_whoever_makes_an_admin_is_told_so(
    capsys: pytest.CaptureFixture[str], path: str, rights: set[str], giver: SpiffeId, is_told: bool
) -> None:
    grants.tell_of_admin([GrantTerms(FilePath.parse(path), grants.rights_of(rights))], giver)
    assert ("makes an admin" in capsys.readouterr().err) == is_told
