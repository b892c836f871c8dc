"""Prints the documents of a YAML file as a JSON list. CloudFormation's short forms become the long ones: !Ref x is
{"Ref": "x"}, !Sub x is {"Fn::Sub": "x"}; !GetAtt a.b is {"Fn::GetAtt": ["a", "b"]}."""

import json
import sys

import yaml


def long_form(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


yaml.SafeLoader.add_multi_constructor("!", long_form)
with open(sys.argv[1], encoding="utf-8") as file:
    json.dump(list(yaml.safe_load_all(file)), sys.stdout)
