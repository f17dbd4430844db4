"""HTTP Webhook actions, called back by the app itself over https at an address that it takes for a public one."""

from __future__ import annotations

from typing import Any

import pytest

from local import azurite
from tests.logic_apps import public_network
from tests.needs import need

SUBSCRIBED_AND_UNSUBSCRIBED = [["runs", 200], ["runs/cancel", 200]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened when the workflows were played."""
    need(azurite.missing() or public_network.missing())
    told: dict[str, Any] = public_network.run_inside(
        "tests.logic_apps.callback_scene", tmp_path_factory.mktemp("network")
    )
    return told


@pytest.mark.parametrize("edition", ["consumption", "standard"])
def test_the_result_is_called_back_once_and_the_action_unsubscribes(scene: dict[str, Any], edition: str) -> None:
    told = scene[edition]
    assert told["status"] == "Succeeded", told
    assert "42" in told["answer"]
    assert (told["called"], told["statuses"], told["signed"]) == ([202], ["completed"], ["v1,"])
    assert told["requests"] == SUBSCRIBED_AND_UNSUBSCRIBED
    assert told["runs"] == 1


def test_a_subscription_whose_answer_is_lost_makes_one_run_and_one_callback(scene: dict[str, Any]) -> None:
    told = scene["lost reply"]
    assert told["status"] == "Succeeded", told
    assert told["requests"] == [["runs", 0], *SUBSCRIBED_AND_UNSUBSCRIBED]
    assert (told["called"], told["runs"]) == ([202], 1)


def test_a_callback_that_is_refused_for_now_comes_again_under_the_same_id(scene: dict[str, Any]) -> None:
    told = scene["busy listener"]
    assert (told["status"], told["called"]) == ("Succeeded", [503, 202])
    assert len(told["ids"]) == 1


def test_a_cancelled_workflow_cancels_its_run(scene: dict[str, Any]) -> None:
    told = scene["cancelled"]
    assert told["status"] == "Cancelled"
    assert told["requests"] == SUBSCRIBED_AND_UNSUBSCRIBED
    assert told["ended"] == ["cancelled"]


def test_no_callback_url_is_logged(scene: dict[str, Any]) -> None:
    assert scene["log"]
    assert "sig=" not in scene["log"]
    assert "logic.azure.com" not in scene["log"]
