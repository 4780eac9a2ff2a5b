"""A deterministic simulator of a beauty brand and its users, with planted truth."""

from orchestration.ingestion.simulator.run import DEFAULT_END, SimulationResult, simulate

__all__ = ["DEFAULT_END", "SimulationResult", "simulate"]
