"""What KEDA would watch and scale is there: services, their groups, and topics with as many partitions."""

from __future__ import annotations

from importlib import import_module

import yaml

from sluice_contracts.topics import TOPICS
from support.deployment import DEPLOY, SERVICES


def test_each_scaled_object_names_a_service_its_group_and_a_topic_with_enough_partitions() -> None:
    topics = {topic.name: topic for topic in TOPICS}
    objects = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "scaling.yaml").read_text()))
    assert objects
    for each in objects:
        service = each["spec"]["scaleTargetRef"]["name"]
        assert service in SERVICES
        main = import_module(f"sluice_{service}.__main__")
        groups = {value for name, value in vars(main).items() if name.endswith("GROUP")}
        for trigger in each["spec"]["triggers"]:
            assert trigger["metadata"]["consumerGroup"] in groups
            topic = topics[trigger["metadata"]["topic"]]
            assert service in topic.consumers
            assert each["spec"]["maxReplicaCount"] <= topic.partitions
