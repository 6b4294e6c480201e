"""How an application starts; the module itself may be called, too."""

import sys
import types
from collections.abc import Coroutine
from typing import Any

from lading.contracts.golem.entrypoint import main as main

entrypoint = main


class _Callable(types.ModuleType):
    def __call__(self, *arguments: Any, **keywords: Any) -> Coroutine[Any, Any, None]:
        return main(*arguments, **keywords)


sys.modules[__name__].__class__ = _Callable
