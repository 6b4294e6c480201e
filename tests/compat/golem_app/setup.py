#!/usr/bin/env python3
from golem_task_api.apputils.app_definition import BuildAppDefCommand
from setuptools import setup

from primes_app import constants


class BuildAppDef(BuildAppDefCommand):
    def run(self):
        self.config["name"] = constants.DOCKER_IMAGE
        self.config["requestor_prereq"] = {
            "image": constants.DOCKER_IMAGE,
            "tag": constants.VERSION,
        }
        super().run()


setup(
    name="Primes-App",
    version=constants.VERSION,
    description="Finds primes.",
    license="Apache-2.0",
    maintainer="The Lading maintainers",
    packages=["primes_app"],
    cmdclass={"build_app_def": BuildAppDef},
)
