"""Runs on an existing Kafka, AWS and BigQuery."""

from collections import Counter

from conftest import OnOtherServers
from testkit.flow import STAGES, counts


def test_a_run_on_other_servers_brings_every_quote_to_every_stage(on_other_servers: OnOtherServers) -> None:
    assert on_other_servers.first["phase"] == "finished"
    assert counts(on_other_servers.first) == dict.fromkeys(STAGES, 50)
    assert (on_other_servers.first["quarantined"], on_other_servers.first["failed"]) == (0, 0)


def test_the_next_run_on_them_goes_on(on_other_servers: OnOtherServers) -> None:
    assert counts(on_other_servers.second) == dict.fromkeys(STAGES, 60)


def test_it_starts_none_of_the_servers_that_it_is_given(on_other_servers: OnOtherServers) -> None:
    started = list(on_other_servers.processes.values())
    pythons = [command for command in started if " -m " in command]
    assert pythons, started
    assert all("awslambdaric" in command for command in pythons), started
    endpoints = on_other_servers.first["endpoints"]
    stores = on_other_servers.stores
    assert endpoints["kafka_bootstrap_servers"] == stores.kafka
    assert endpoints["aws_endpoint_url"] == stores.aws
    assert endpoints["bigquery_endpoint"] == stores.bigquery


def test_it_leaves_them_running_with_what_they_hold(on_other_servers: OnOtherServers) -> None:
    assert not on_other_servers.left
    stores, clients = on_other_servers.stores, on_other_servers.clients
    assert all(process.poll() is None for process in stores.processes)
    in_kafka = Counter(record.quote["quote_id"] for record in clients.records())
    assert in_kafka.total() == 60
    assert in_kafka == Counter(clients.bronze_ids())
    assert len(clients.objects()) == 60
