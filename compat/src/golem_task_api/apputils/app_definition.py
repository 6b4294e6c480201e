"""Application definition files."""

from lading.contracts.golem.appdefs import AppDefinition
from lading.contracts.golem.original.building import BuildAppDefCommand as BuildAppDefCommand
from lading.contracts.golem.original.building import save_app_to_json_file as save_app_to_json_file

AppDefinitionBase = AppDefinition
