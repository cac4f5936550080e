"""The CPUs as the monitor samples them: clock, temperature and energy (RAPL)."""

from __future__ import annotations

import glob

__all__ = ["CpuEnergy", "CpuState"]


class CpuState:
    """Clock and temperature of the CPUs, where readable; read at most once per second, since each CPU costs a file access."""

    _SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")

    def __init__(self) -> None:
        self._look_at = 0.0
        self._last: tuple[float | None, float | None] = (None, None)

    def at(self, now: float) -> tuple[float | None, float | None]:
        """Mean clock in MHz, and the highest temperature in degrees Celsius."""
        if now >= self._look_at:
            self._last = self._clock(), self._temperature()
            self._look_at = now + 1.0
        return self._last

    def _clock(self) -> float | None:
        import psutil

        try:
            clock = psutil.cpu_freq()
        except (OSError, ValueError, NotImplementedError):
            return None
        return round(clock.current, 1) if clock is not None and clock.current else None

    def _temperature(self) -> float | None:
        import psutil

        try:
            sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
        except (OSError, ValueError):
            return None
        found = [one.current for name in self._SENSORS for one in sensors.get(name, ()) if one.current]
        return max(found, default=None)


class CpuEnergy:
    """The energy counters of CPU packages (RAPL), where readable."""

    def __init__(self) -> None:
        self._files = []
        for path in sorted(glob.glob("/sys/class/powercap/intel-rapl:[0-9]*/energy_uj")):
            if path.count(":") == 1:  # not parts of packages
                try:
                    # psys is the whole machine, its packages included.
                    if self._read(path, "name").startswith("package"):
                        self._files.append((open(path), int(self._read(path, "max_energy_range_uj"))))
                except OSError:
                    continue
        self._last = [0] * len(self._files)
        self._turns = [0] * len(self._files)

    @staticmethod
    def _read(path: str, name: str) -> str:
        with open(path.replace("energy_uj", name)) as stream:
            return stream.read()

    @property
    def found(self) -> bool:
        return bool(self._files)

    def joules(self) -> float:
        """Energy of all packages in joules, since an arbitrary time."""
        total = 0.0
        for number, (stream, size) in enumerate(self._files):
            stream.seek(0)
            value = int(stream.read())
            if value < self._last[number]:
                self._turns[number] += 1  # the counter has wrapped around
            self._last[number] = value
            total += (value + self._turns[number] * size) / 1e6
        return total
