"""Holds one cell against what Kubernetes understands, and against what belongs together across the files of this folder.

usage: kubectl kustomize CELL | check.py VERSION CELL     exit codes: 0 nothing wrong, 1 each mistake on a line
"""

import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml

# Of the Prometheus Operator, which has no schema here: what of it must fit together is checked below.
FOREIGN = {"PodMonitor"}
# The five triggers of the autoscaler: its metric, its mark, and the alarm that says the same of one instance.
TRIGGERS = {
    "offhook_cloud_cpu_ratio_5m": (0.7, "OffhookCloudCpu", "5m"),
    "offhook_cloud_memory_ratio_3m": (0.8, "OffhookCloudMemory", "3m"),
    "offhook_cloud_waiting": (10, "OffhookCloudQueue", None),
    "offhook_cloud_store_seconds_p95": (2, "OffhookCloudSlow", None),
    "offhook_cloud_errors_ratio": (0.05, "OffhookCloudErrors", None),
}

mistakes = []


def expect(fits, what):
    if not fits:
        mistakes.append(what)


def name(thing):
    return f"{thing['kind']}/{thing['metadata']['name']}"


def report(cell):
    for mistake in mistakes:
        print(f"{cell}: {mistake}", file=sys.stderr)
    if mistakes:
        sys.exit(1)


def quantity(text):
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def with_schema(objects, version):
    for thing in objects:
        if thing["kind"] in FOREIGN:
            continue
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            mistakes.append(f"{name(thing)}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            mistakes.append(f"{name(thing)}: Kubernetes {version} knows no {thing['kind']} of {thing['apiVersion']}")


def deployment(one, every):
    pod = one("Deployment")["spec"]["template"]
    spec, labels = pod["spec"], pod["metadata"]["labels"].items()
    (container,) = spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    services, policies = every("Service"), every("NetworkPolicy")
    selectors = [(thing, thing["spec"]["selector"]) for thing in services]
    selectors += [(thing, thing["spec"]["selector"].get("matchLabels", {})) for thing in every("PodDisruptionBudget")]
    selectors += [(thing, thing["spec"]["podSelector"].get("matchLabels", {})) for thing in policies]
    for thing, selector in selectors:
        expect(
            selector and selector.items() <= labels, f"{name(thing)}: selects {selector}, the pods are {dict(labels)}"
        )
    for thing in services:
        for port in thing["spec"]["ports"]:
            expect(port["targetPort"] in ports, f"{name(thing)}: the pods have no port {port['targetPort']!r}")
    for thing in policies:
        for port in (port for ingress in thing["spec"]["ingress"] for port in ingress["ports"]):
            expect(port["port"] in ports, f"{name(thing)}: the pods have no port {port['port']!r}")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        expect(container[probe]["httpGet"]["port"] in ports, f"{probe}: the pods have no such port")
    expect("@" in container["image"] or re.search(r":(?!latest$)[^/]+$", container["image"]), "image: expected a release")
    autoscaler = one("HorizontalPodAutoscaler")["spec"]
    expect(autoscaler["scaleTargetRef"]["name"] == one("Deployment")["metadata"]["name"], "autoscaler: of nobody")
    expect(autoscaler["minReplicas"] >= 2, "autoscaler: expected two instances at least")
    return ports, autoscaler, container


def settings(objects, ports, autoscaler):
    configured = [thing["data"] for thing in objects if thing["kind"] == "ConfigMap"]
    (file,) = [data["cloud.toml"] for data in configured if "cloud.toml" in data]
    for section, port in (("listen", "boxes"), ("http", "http")):
        found = re.search(rf'^\[{section}\]\naddress = "0\.0\.0\.0:{ports[port]}"$', file, re.MULTILINE)
        expect(found, f"cloud.toml: expected [{section}] at 0.0.0.0:{ports[port]}")
    connections = int(re.search(r"^connections = (\d+)$", file, re.MULTILINE)[1])
    most = (autoscaler["maxReplicas"] + 1) * connections
    expect(most < 100, f"{most} connections to PostgreSQL at most: expected below 100, its own limit")
    endpoint = [data[key] for data in configured for key in data if key == "OFFHOOK_CLOUD__LISTEN__ENDPOINT"]
    expect(len(endpoint) == 1, "expected one OFFHOOK_CLOUD__LISTEN__ENDPOINT for the cell")


def twilio(objects, every, ports, container):
    """The port, how Twilio reaches it, and what it signs: none of it without the others."""
    url = [
        thing["data"]["OFFHOOK_CLOUD__TWILIO__URL"]
        for thing in objects
        if thing["kind"] == "ConfigMap" and "OFFHOOK_CLOUD__TWILIO__URL" in thing["data"]
    ]
    if "twilio" not in ports:
        expect(not url, "OFFHOOK_CLOUD__TWILIO__URL: the cell does not include kubernetes/twilio")
        return
    expect(len(url) == 1, "expected one OFFHOOK_CLOUD__TWILIO__URL, because the cell includes kubernetes/twilio")
    (ingress,) = every("Ingress")
    rules, services = ingress["spec"]["rules"], {thing["metadata"]["name"]: thing for thing in every("Service")}
    for rule in rules:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            leads = services.get(backend["name"], {"spec": {"ports": []}})["spec"]["ports"]
            expect(
                any(port["name"] == backend["port"]["name"] and port["targetPort"] == "twilio" for port in leads),
                f"{name(ingress)}: {path['path']} leads to nothing that leads to the port of Twilio",
            )
    hosts = {rule.get("host") for rule in rules}
    expect(
        {f"https://{host}" for host in hosts} == set(url),
        f"{name(ingress)}: expected the host of OFFHOOK_CLOUD__TWILIO__URL, found {hosts}",
    )
    shown = {host for tls in ingress["spec"]["tls"] for host in tls.get("hosts", [])}
    expect(shown == hosts, f"{name(ingress)}: the certificate is for {shown}, expected {hosts}")
    address = [setting["value"] for setting in container["env"] if setting["name"] == "OFFHOOK_CLOUD__TWILIO__ADDRESS"]
    expect(address == [f"0.0.0.0:{ports['twilio']}"], "OFFHOOK_CLOUD__TWILIO__ADDRESS: expected the pods' port")


def triggers(autoscaler):
    rules = yaml.safe_load(Path("prometheus/offhook-cloud.rules.yml").read_text())["groups"]
    rules = [rule for group in rules for rule in group["rules"]]
    known = {rule["record"] for rule in rules if "record" in rule}
    known |= set(re.findall(r"offhook_cloud_\w+", Path("../src/server/metrics.rs").read_text()))
    adapted = {}
    for rule in yaml.safe_load(Path("prometheus/adapter-rules.yml").read_text())["rules"]["custom"]:
        adapted[rule["name"]["as"]] = rule["seriesQuery"].partition("{")[0]
    for name, series in adapted.items():
        expect(series in known, f"adapter-rules.yml: {name} is made of {series}, which neither rules nor service have")
    alarms = {rule["alert"]: rule for rule in rules if "alert" in rule}
    marks = {}
    for metric in autoscaler["metrics"]:
        name = metric["pods"]["metric"]["name"]
        marks[name] = quantity(metric["pods"]["target"]["averageValue"])
        expect(name in adapted, f"autoscaler: adapter-rules.yml has no {name}")
    expect(set(marks) == set(TRIGGERS), f"autoscaler: expected {sorted(TRIGGERS)}, found {sorted(marks)}")
    for name, (mark, alarm, minutes) in TRIGGERS.items():
        expect(marks.get(name) == mark, f"autoscaler: {name} at {marks.get(name)}, expected {mark}")
        rule = alarms.get(alarm, {"expr": ""})
        expect(rule["expr"].endswith(f"> {mark}"), f"{alarm}: expected the mark {mark}, as the autoscaler has it")
        expect(rule.get("for") == minutes, f"{alarm}: expected for: {minutes}")
    manual = Path("README.md").read_text()
    for alarm in alarms:
        expect(f"### {alarm}\n" in manual, f"README.md: says nothing of {alarm}")


def main():
    version, cell = sys.argv[1:]
    objects = [thing for thing in yaml.safe_load_all(sys.stdin) if thing]

    def every(kind):
        return [thing for thing in objects if thing["kind"] == kind]

    def one(kind):
        (found,) = every(kind)
        return found

    with_schema(objects, version)
    # What follows looks for things where Kubernetes has them.
    report(cell)
    ports, autoscaler, container = deployment(one, every)
    settings(objects, ports, autoscaler)
    twilio(objects, every, ports, container)
    triggers(autoscaler)
    report(cell)
    print(f"{cell}: {len(objects)} objects as Kubernetes {version} has them")


main()
