"""Asks an independent JSON Schema validator about YAML files, as an editor would.

    python schema.py SCHEMA FILE...   one JSON line for each file: {file, faults}
"""

import json
import sys

import jsonschema
import yaml


class Plain(yaml.SafeLoader):
    """Reads dates as the texts they are written as; YAML 1.2, unlike 1.1, has no dates."""


Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def main(schema_path, *paths):
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in paths:
        with open(path, encoding="utf-8") as file:
            document = yaml.load(file, Loader=Plain)
        faults = [f"{f.json_path}: {f.message}" for f in validator.iter_errors(document)]
        print(json.dumps({"file": path, "faults": faults}))


main(*sys.argv[1:])
