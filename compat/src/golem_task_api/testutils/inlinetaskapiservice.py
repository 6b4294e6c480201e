"""An application made of handlers."""

from lading.contracts.golem.original.inline import InlineTaskApiService as InlineTaskApiService
