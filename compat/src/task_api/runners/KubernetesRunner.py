"""Tasks on a cluster."""

from lading.contracts.processing.original.cluster import KubernetesRunner as KubernetesRunner
from lading.contracts.processing.original.cluster import PodPhase as PodPhase
from lading.contracts.processing.original.cluster import generate_pod_name as generate_pod_name
