"""The registry of services: registered with their job, found by what is asked, gone with their job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from headway.ports import Store
from headway.service.cluster.probes import Outcome
from headway.service.cluster.queries import Query, read_query
from headway.stores.memory import MemoryStore
from headway_wire.errors import Invalid, Unavailable

from packages.engine.tests.service.cluster.houses import NODE, House, bundle, house, on_each_store

EVERYTHING = Query(include_candidates=True)


async def registered(home: House, job_id: str = "job", **manifest: Any) -> list[dict[str, Any]]:
    home.jobs.statuses[job_id] = "running"
    whole = bundle(**manifest)
    placed = await home.placement.place(job_id, whole, True)
    return await home.services.register(job_id, whole, allocations=placed)


def test_a_service_is_registered_as_it_was_declared() -> None:
    async def scenario() -> None:
        home = await house()

        [found] = await registered(
            home,
            services=[
                {
                    "name": "api",
                    "address": "10.0.0.1",
                    "port": 80,
                    "tags": ["web"],
                    "meta": {"team": "a"},
                    "checks": [{"type": "http", "path": "/health", "name": "up"}],
                }
            ],
        )

        assert found == {
            "id": "job:job:api",
            "name": "api",
            "address": "10.0.0.1",
            "port": 80,
            "tags": ["web"],
            "meta": {"team": "a"},
            "provider": "mirror_neuron",
            "origin": "internal",
            "checks": [{"type": "http", "path": "/health", "name": "up"}],
            "status": "warning",
            "health": {
                "status": "warning",
                "checks": [
                    {
                        "name": "up",
                        "type": "http",
                        "status": "warning",
                        "message": "not checked yet",
                        "checked_at": "",
                    }
                ],
            },
            "job_id": "job",
            "agent_id": "",
            "node": NODE,
            "deployment_id": "",
            "deployment_key": "",
            "deployment_version": "",
            "deployment_role": "",
            "updated_at": "2023-11-14T22:13:20.000Z",
        }
        told = {"service_id": "job:job:api", "name": "api", "address": "10.0.0.1", "port": 80}
        assert home.jobs.notes == [("job", "service_registered", told, "")]

    asyncio.run(scenario())


def test_templates_are_filled_from_configuration_environment_and_allocation() -> None:
    async def scenario() -> None:
        home = await house(env={"MN_REGION": "north", "MN_API_TOKEN": "hush"})
        config = '{"llm": {"host": "10.1.1.1", "models": ["a", "b"]}}'

        [found] = await registered(
            home,
            nodes=[
                {
                    "agent_type": "executor",
                    "config": {"command": ["true"], "environment": {"MN_BLUEPRINT_CONFIG_JSON": config}},
                    "resources": {"ports": [{"label": "api"}]},
                    "services": [
                        {
                            "name": "llm",
                            "address": "${config.llm.host}",
                            "port": "${port.api}",
                            "meta": {
                                "place": "${env.MN_REGION}/${node}/${job_id}/${agent_id}",
                                "model": "${config.llm.models.1}",
                            },
                            "checks": [
                                {"type": "tcp", "address": "${service.address}", "port": "${service.port}"}
                            ],
                        }
                    ],
                }
            ],
        )

        assert (found["id"], found["address"], found["port"]) == ("job:n0:llm", "10.1.1.1", 20_000)
        assert found["meta"] == {"place": f"north/{NODE}/job/n0", "model": "b"}
        assert found["checks"] == [{"type": "tcp", "address": "10.1.1.1", "port": 20_000}]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "template", ["${config.gone}", "${env.MN_API_TOKEN}", "${env.HOME}", "${nonsense}", "${}", "${port.api}"]
)
def test_a_template_without_a_value_keeps_the_service_out_and_says_so(template: str) -> None:
    async def scenario() -> None:
        home = await house(env={"MN_API_TOKEN": "hush"})

        found = await registered(home, services=[{"name": "a", "meta": {"x": template}}, {"name": "b"}])

        assert [service["name"] for service in found] == ["b"]
        [rejected] = [note for note in home.jobs.notes if note[1] == "service_rejected"]
        assert f"{template} has no value" in rejected[2]["reason"]
        assert "hush" not in str(home.jobs.notes)

    asyncio.run(scenario())


def test_a_query_asks_for_everything_at_once() -> None:
    async def scenario() -> None:
        home = await house()
        await registered(home, "one", services=[{"name": "db", "tags": ["sql", "main"]}, {"name": "web"}])
        await registered(home, "two", nodes=[{"services": [{"name": "db", "tags": ["sql"]}]}])

        def ids(**query: Any) -> list[str]:
            return [found["id"] for found in home.services.find(read_query(query))]

        assert ids() == ["one:job:db", "two:n0:db", "one:job:web"]
        assert ids(name="db") == ["one:job:db", "two:n0:db"]
        assert ids(name="db", job_id="two") == ids(agent_id="n0") == ["two:n0:db"]
        assert ids(tags=["sql", "main"]) == ids(tags="main, sql") == ["one:job:db"]
        assert ids(node=NODE, status="passing", passing_only="true") == ids()
        assert ids(node="elsewhere") == ids(status="critical") == ids(job_id="three") == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "query", [{"tags": 5}, {"tags": [1]}, {"passing_only": "perhaps"}, {"status": "fine"}, {"name": 7}]
)
def test_a_query_that_makes_no_sense_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        read_query(query)


def test_resolving_shows_what_is_passing_and_listing_shows_all() -> None:
    async def scenario() -> None:
        home = await house()
        await registered(home, services=[{"name": "db", "port": 1, "checks": [{"type": "tcp"}]}])

        assert await home.cluster.resolve_service(name="db", query={}) == []
        assert len(await home.cluster.resolve_service(name="db", query={"passing_only": False})) == 1
        assert len(await home.cluster.list_services(query={})) == 1

    asyncio.run(scenario())


def test_candidates_are_hidden_until_they_are_promoted() -> None:
    async def scenario() -> None:
        home = await house()
        home.jobs.statuses.update(old="running", new="running")
        manifest = bundle(services=[{"name": "api"}])
        await home.services.register("old", manifest)
        labels = {"deployment_key": "shop", "deployment_version": "2", "deployment_role": "candidate"}
        candidate = bundle(services=[{"name": "api"}], metadata={"mn_deployment": labels})
        await home.services.register("new", candidate)

        def jobs(**query: Any) -> list[str]:
            return [found["job_id"] for found in home.services.find(read_query(query))]

        assert jobs(name="api") == ["old"]
        assert jobs(role="candidate") == ["new"]
        assert jobs(include_candidates=True) == ["new", "old"]

        await home.services.label("new", deployment_role="stable")
        home = await home.reborn()

        assert jobs(name="api") == ["new", "old"]
        [promoted] = home.services.find(Query(job_id="new"))
        assert (promoted["deployment_key"], promoted["deployment_version"]) == ("shop", "2")

    asyncio.run(scenario())


def test_services_and_what_is_known_of_them_survive_a_restart(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        first = await house(store)
        await registered(first, "stays", services=[{"name": "a", "port": 1, "checks": [{"type": "tcp"}]}])
        await registered(first, "goes", services=[{"name": "b"}])
        await first.services.observe(next(first.services.targets()), Outcome(True, "accepts connections"))
        first.jobs.end("goes")

        second = await first.reborn()

        [found] = second.services.find(EVERYTHING)
        assert found["id"] == "stays:job:a"
        assert found["status"] == "passing"
        assert found["health"]["checks"][0]["message"] == "accepts connections"

    asyncio.run(on_each_store(str(tmp_path / "store.db"), scenario))


def test_services_are_not_lost_when_the_engine_dies_while_their_job_starts() -> None:
    async def scenario() -> None:
        home = await house()
        await home.place("job", services=[{"name": "a"}])
        assert home.services.find(EVERYTHING) == []
        assert list(home.services.targets()) == []

        home = await home.reborn()

        assert [found["id"] for found in home.services.find(EVERYTHING)] == ["job:job:a"]

    asyncio.run(scenario())


def test_a_job_that_did_not_begin_leaves_no_services() -> None:
    async def scenario() -> None:
        home = await house()
        await home.placement.place("job", bundle(services=[{"name": "a"}]))

        await home.placement.release("job")

        assert await home.store.list("/mirrorneuron/") == []
        assert await home.services.register("other", bundle(services=[{"name": "b"}]))

    asyncio.run(scenario())


def test_services_go_with_their_job_and_late_results_bring_nothing_back() -> None:
    async def scenario() -> None:
        home = await house()
        await registered(home, services=[{"name": "a", "port": 1, "checks": [{"type": "tcp"}]}])
        target = next(home.services.targets())

        assert await home.services.remove("job")
        await home.services.observe(target, Outcome(True, "too late"))

        assert home.services.find(EVERYTHING) == []
        assert (await home.reborn()).services.find(EVERYTHING) == []

    asyncio.run(scenario())


def test_what_was_removed_behind_our_back_is_not_written_again() -> None:
    async def scenario() -> None:
        home = await house()
        await registered(home, services=[{"name": "a", "port": 1, "checks": [{"type": "tcp"}]}])
        other = await home.reborn()

        await other.services.remove("job")
        await home.services.observe(next(home.services.targets()), Outcome(True, "too late"))

        assert (await home.reborn()).services.find(EVERYTHING) == []

    asyncio.run(scenario())


def test_registering_twice_changes_nothing() -> None:
    async def scenario() -> None:
        home = await house()

        first = await registered(home, services=[{"name": "a"}])

        assert await home.services.register("job", bundle(services=[{"name": "a"}])) == first
        assert len(home.jobs.notes) == 1

    asyncio.run(scenario())


def test_services_of_one_job_with_one_name_have_ids_of_their_own() -> None:
    async def scenario() -> None:
        home = await house()

        found = await registered(home, services=[{"name": "a", "id": "x"}, {"name": "b", "id": "x"}])

        assert [service["id"] for service in found] == ["x", "x:2"]

    asyncio.run(scenario())


def test_the_health_of_a_job_is_that_of_its_worst_required_check() -> None:
    async def scenario() -> None:
        home = await house()
        check = {"port": 1, "checks": [{"type": "tcp"}]}
        optional = {"port": 1, "checks": [{"type": "tcp", "required": False}]}
        services = [{"name": "a", **check}, {"name": "b", **check}, {"name": "c", **optional}]
        await registered(home, services=services)
        a, b, c = home.services.targets()
        await home.services.observe(c, Outcome(False, ""))

        await home.services.observe(a, Outcome(True, ""))
        assert home.services.health("job") == "warning"
        await home.services.observe(b, Outcome(False, ""))
        assert home.services.health("job") == "critical"
        await home.services.observe(b, Outcome(True, ""))
        assert home.services.health("job") == "passing"
        assert home.services.health("unknown") == "passing"

    asyncio.run(scenario())


def test_checking_services_probes_those_with_checks_and_looks_up_the_others() -> None:
    async def scenario() -> None:
        home = await house()
        await registered(home, services=[{"name": "here", "tags": ["t"]}])
        listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with listening:
            report = await home.cluster.check_services(
                services={
                    "services": [
                        {"name": "here", "tags": ["t"]},
                        {"name": "up", "checks": [{"type": "tcp", "port": port}]},
                        {"name": "down", "checks": [{"type": "tcp", "port": 1, "name": "ping"}]},
                        {"name": "gone", "required": False},
                        {"name": "bad name!"},
                    ]
                }
            )

        assert report["version"] == "validation.report/v1"
        assert (report["ok"], report["status"], report["error_count"]) == (False, "failed", 2)
        shown = [(each["name"], each["type"], each["required"], each["ok"]) for each in report["results"]]
        assert shown == [
            ("here", "service", True, True),
            ("up", "service", True, True),
            ("down", "service", True, False),
            ("gone", "service", False, False),
            ("bad name!", "service", True, False),
        ]
        assert report["results"][0]["instances"][0]["id"] == "job:job:here"
        assert report["results"][1]["health"]["status"] == "passing"
        assert [(each["code"], each["severity"]) for each in report["issues"]] == [
            ("service.unhealthy", "error"),
            ("service.not_found", "warning"),
            ("service.bad_spec", "error"),
        ]
        assert "down' is not healthy: ping: 127.0.0.1:1" in report["errors"][0]

    asyncio.run(scenario())


@pytest.mark.parametrize("services", [{}, {"services": 5}, ["db"], [{"name": "a"}] * 101])
def test_what_is_no_list_of_services_cannot_be_checked(services: Any) -> None:
    async def scenario() -> None:
        home = await house()
        with pytest.raises(Invalid):
            await home.cluster.check_services(services=services)

    asyncio.run(scenario())


def test_a_role_that_could_not_be_written_is_still_to_be_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = MemoryStore()
        home = await house(store)
        await registered(home, services=[{"name": "api", "port": 80}])
        label = {"deployment_role": "stable"}

        def away(moment: str) -> None:
            raise Unavailable("the store is away")

        store.faults = away
        with pytest.raises(Unavailable):
            await home.services.label("job", **label)
        [shown] = home.services.find(EVERYTHING)
        assert shown["deployment_role"] == ""
        store.faults = None
        await home.services.label("job", **label)

        for now in (home, await home.reborn()):
            [shown] = now.services.find(EVERYTHING)
            assert shown["deployment_role"] == "stable"

    asyncio.run(scenario())


def test_roles_and_checks_that_are_written_at_once_are_both_written() -> None:
    async def scenario() -> None:
        home = await house()
        await registered(home, services=[{"name": "api", "port": 80, "checks": [{"type": "tcp"}]}])
        [target] = home.services.targets()
        for role in ("candidate", "stable", "candidate", "stable"):
            await asyncio.gather(
                home.services.observe(target, Outcome(role == "stable", "")),
                home.services.label("job", deployment_role=role),
                home.services.observe(target, Outcome(role == "stable", "")),
            )
            [shown] = home.services.find(EVERYTHING)
            [stored] = (await home.reborn()).services.find(EVERYTHING)
            assert shown["deployment_role"] == stored["deployment_role"] == role
            assert shown["status"] == stored["status"]

    asyncio.run(scenario())
