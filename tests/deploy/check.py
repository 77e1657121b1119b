"""Checks what is below deploy/ and .github/, and the Dockerfile, without a container engine or a cluster.

    check.py PART BINARY      PART: chart, compose, image or workflows. BINARY: tollgate.

What is wrong is printed, a line each, and the exit code is 1. Does not handle Prometheus and Grafana, which
tests/suite/monitoring runs.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
CHART = ROOT / "deploy/helm/tollgate"
KUBERNETES = "1.31"

mistakes = []


def wrong(place, what):
    mistakes.append(f"{place}: {what}")


def tool(place, name, *arguments, **more):
    """Runs a program of the environment; what it says is a mistake if it fails."""
    ran = subprocess.run([TOOLS / name, *map(str, arguments)], capture_output=True, text=True, **more)
    if ran.returncode != 0:
        wrong(place, f"{name}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def schema(kind, *paths):
    for path in paths:
        tool(path, "check-jsonschema", "--builtin-schema", f"vendor.{kind}", ROOT / path)


def accepted_by(binary, place, text, variables):
    """Tollgate takes the configuration. Only the warning of the open operator's listener is expected."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tollgate.yaml"
        file.write_text(text)
        environment = {**variables, "PATH": os.environ["PATH"]}
        ran = subprocess.run([binary, "check", file], capture_output=True, text=True, env=environment)
    warnings = [line for line in ran.stderr.splitlines() if "server.admin: " not in line]
    if ran.returncode != 0 or warnings:
        wrong(place, ran.stderr)


# The chart

# What the schema or a template has to refuse.
REFUSED = [
    {"replica": 2},
    {"replicas": "two"},
    {"ports": {"clients": 0}},
    {"service": {"type": "External"}},
    {"image": {"digest": "sha256:short"}},
    {"secrets": {"values": {"not-a-name": "x"}}},
    {"secrets": {"values": {"A": 1}}},
    {"config": None},
    {"podDisruptionBudget": {"maxUnavailable": "half"}},
    {"secrets": {"existing": "one", "values": {"A": "x"}}},
    {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}},
]


def chart(binary):
    import helm_python as helm

    for finding in helm.lint(str(CHART))["messages"]:
        # An icon is a matter of taste.
        if "icon is recommended" not in str(finding):
            wrong("deploy/helm/tollgate", f"lint: {finding}")
    everything = read("deploy/helm/everything.yaml")
    sets = {
        "the defaults": {},
        "everything": everything,
        "a secret of its own": {"secrets": {"values": {"OPENAI_API_KEY": "a", "CLIENT_KEY": "yes"}}},
        "nothing": {
            "networkPolicy": {"enabled": False},
            "podDisruptionBudget": {"enabled": False},
            "serviceAccount": {"create": False},
            "drainDelaySeconds": 0,
            "replicas": 0,
        },
    }
    with helm.Chart.load(str(CHART)) as loaded:
        for name, values in sets.items():
            loaded.validate_schema(values)
            rendered = loaded.render(values, name="release", namespace="gateways")
            objects = parsed(rendered)
            hold(f"chart with {name}", objects, values)
            settings = one(objects, "ConfigMap")["data"]["tollgate.yaml"]
            keys = {"OPENAI_API_KEY": "a-value-of-the-test", "CLIENT_KEY": "another-value"}
            accepted_by(binary, f"chart with {name}", settings, keys)
        for values in REFUSED:
            try:
                loaded.validate_schema(values)
                loaded.render(values, name="release", namespace="gateways")
            except helm.HelmError:
                continue
            wrong("deploy/helm/tollgate", f"{values} is not refused")


def parsed(rendered):
    """The objects of all templates."""
    objects = []
    for template, text in rendered.items():
        if template.endswith(".yaml"):
            objects += [o for o in yaml.safe_load_all(text) if o]
    return objects


def of_kind(objects, kind):
    return [o for o in objects if o["kind"] == kind]


def one(objects, *kinds):
    """The object of these kinds, of which there is one."""
    found = [o for o in objects if o["kind"] in kinds]
    if len(found) != 1:
        wrong("chart", f"{len(found)} of {kinds}")
    return found[0]


def hold(place, objects, values):
    """Holds objects against the schemas of Kubernetes, and against each other."""
    import kubernetes_validate

    for o in objects:
        where = f"{place}: {o['kind']} {o['metadata']['name']}"
        # The operator of Prometheus defines it.
        if o["apiVersion"] != "monitoring.coreos.com/v1":
            try:
                kubernetes_validate.validate(o, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                wrong(where, f"{error.message} at {list(error.path)}")
        if len(o["metadata"]["name"]) > 63:
            wrong(where, "its name is too long")
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]
    if len(names) != len(set(names)):
        wrong(place, f"a name is there twice: {names}")
    workload = one(objects, "Deployment", "StatefulSet")
    pod = workload["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    selectors = [workload["spec"]["selector"]["matchLabels"]]
    selectors += [s["spec"]["selector"] for s in of_kind(objects, "Service")]
    selectors += [b["spec"]["selector"]["matchLabels"] for b in of_kind(objects, "PodDisruptionBudget")]
    selectors += [n["spec"]["podSelector"]["matchLabels"] for n in of_kind(objects, "NetworkPolicy")]
    for selector in selectors:
        if not selector.items() <= labels:
            wrong(place, f"{selector} selects no pod")
    container = pod["spec"]["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    for service in of_kind(objects, "Service"):
        if not {port["targetPort"] for port in service["spec"]["ports"]} <= ports:
            wrong(place, f"{service['metadata']['name']} leads to no port")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    claims = workload["spec"].get("volumeClaimTemplates", [])
    there = [v["name"] for v in pod["spec"]["volumes"]] + [c["metadata"]["name"] for c in claims]
    if sorted(there) != sorted(mounted):
        wrong(place, f"volumes {there}, mounts {mounted}")
    delay = values.get("drainDelaySeconds", 5)
    if pod["spec"]["terminationGracePeriodSeconds"] <= delay + 30:
        wrong(place, "it is killed before it has drained")
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        scaled = scaler["spec"]["scaleTargetRef"]
        if (scaled["kind"], scaled["name"]) != (workload["kind"], workload["metadata"]["name"]):
            wrong(place, "it scales something else")
        if "replicas" in workload["spec"]:
            wrong(place, "the chart sets replicas, and so does the scaler")
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        watched = [s for s in of_kind(objects, "Service") if wanted <= s["metadata"]["labels"].items()]
        if len(watched) != 1 or watched[0]["spec"]["ports"][0]["name"] != monitor["spec"]["endpoints"][0]["port"]:
            wrong(place, "the ServiceMonitor finds no port")
    restricted(place, pod["spec"], container)


def restricted(place, pod, container):
    """The Pod Security Standard `restricted`, and a root that cannot be written."""
    wanted = [
        (pod["securityContext"]["runAsNonRoot"], True),
        (pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault"),
        (pod["automountServiceAccountToken"], False),
        (container["securityContext"]["allowPrivilegeEscalation"], False),
        (container["securityContext"]["readOnlyRootFilesystem"], True),
        (container["securityContext"]["capabilities"]["drop"], ["ALL"]),
    ]
    for found, expected in wanted:
        if found != expected:
            wrong(place, f"the pod is not restricted: {found} instead of {expected}")


# Compose


def compose(binary):
    path = "deploy/compose.yaml"
    schema("compose-spec", path)
    services = read(path)["services"]
    folder = ROOT / "deploy"
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            if source.startswith(".") and not (folder / source).exists():
                wrong(f"{path}: {name}", f"{source} is not there")
        if "no-new-privileges:true" not in service.get("security_opt", []):
            wrong(f"{path}: {name}", "it may gain privileges")
        if any(not port.startswith("127.0.0.1:") for port in service.get("ports", [])):
            wrong(f"{path}: {name}", "a port is open to other machines")
    profiles_of = {
        "postgres": ["postgres", "cluster"],
        "redis": ["redis", "cluster"],
        "gateway-2": ["cluster"],
        "balancer": ["cluster"],
        "gateway": None,
    }
    for name, profiles in profiles_of.items():
        if services[name].get("profiles") != profiles:
            wrong(f"{path}: {name}", "profiles")
    variables = {name: "a-value-of-the-test" for name in ("OPENAI_API_KEY", "CLIENT_KEY")}
    variables["LEDGER_URL"] = services["gateway"]["environment"]["LEDGER_URL"]
    variables["STORE_URL"] = services["gateway"]["environment"]["STORE_URL"]
    variables["LEDGER_URL"] = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", variables["LEDGER_URL"])
    for file in sorted((folder / "compose").glob("*.yaml")):
        accepted_by(binary, file.relative_to(ROOT), file.read_text(), variables)
    scraped = read("deploy/prometheus/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    names = read("deploy/compose/tollgate.yaml")["server"]["admin_hosts"]
    if scraped != [f"{names[0]}:9464"] or names[0] not in services:
        wrong(path, f"Prometheus asks {scraped}, which is no service")


# The image


def image(_binary):
    dockerfile = ROOT / "Dockerfile"
    text = dockerfile.read_text()
    tool("Dockerfile", "hadolint", "--failure-threshold", "style", dockerfile)
    last = text[text.rindex("\nFROM ") :]
    for wanted in ("\nUSER 10001:10001\n", 'CMD ["tollgate", "health"]', '\nENTRYPOINT ["tollgate"]\n'):
        if wanted not in last:
            wrong("Dockerfile", f"the image lacks {wanted.strip()}")
    if re.search(r"^\s*(ADD|VOLUME|MAINTAINER) |sudo|:latest", text, re.M):
        wrong("Dockerfile", "ADD, VOLUME, sudo or :latest")
    # What is copied has to be in the context.
    left_out = (ROOT / ".dockerignore").read_text().split()
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.M):
        if source.split("/")[0] in left_out or not (ROOT / source).exists():
            wrong("Dockerfile", f"{source} is not in the context")
    for needed in ("src", "benches", "examples", "tests", "conf", "Makefile", "Cargo.lock"):
        if needed in left_out:
            wrong(".dockerignore", f"{needed} is needed to build")


# Workflows


def workflows(_binary):
    paths = sorted(p.relative_to(ROOT) for p in (ROOT / ".github/workflows").glob("*.yml"))
    if [p.name for p in paths] != ["ci.yml", "release.yml"]:
        wrong(".github/workflows", f"{paths}")
    schema("github-workflows", *paths)
    tool(".github/workflows", "zizmor", "--offline", "--no-config", "--persona", "pedantic", "--min-severity", "low", *[ROOT / p for p in paths])
    for path in paths:
        workflow = read(path)
        for used in re.findall(r"uses: *(.*)", (ROOT / path).read_text()):
            if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used):
                wrong(path, f"not pinned with its version: {used}")
        if workflow["permissions"] != {}:
            wrong(path, "jobs ask for their permissions, not the workflow")
        for name, job in workflow["jobs"].items():
            if "timeout-minutes" not in job:
                wrong(f"{path}: {name}", "no timeout-minutes")
            writes = {k for k, v in job["permissions"].items() if v == "write"}
            allowed = {"release.yml: build": {"packages"}, "release.yml: publish": {"contents", "packages", "id-token"}}
            if writes - allowed.get(f"{path.name}: {name}", set()):
                wrong(f"{path}: {name}", f"may write {writes}")
            for step in job["steps"]:
                # Bash as GitHub runs it: each script has to be one.
                if "run" in step:
                    ran = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True)
                    if ran.returncode != 0:
                        wrong(f"{path}: {name}", ran.stderr)


PARTS = {"chart": chart, "compose": compose, "image": image, "workflows": workflows}


def main():
    part, binary = sys.argv[1:]
    PARTS[part](binary)
    for mistake in mistakes:
        print(mistake)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
