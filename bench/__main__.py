"""All measurements, one after the other: `python -m bench`."""

from bench import apply, burst, memory, phases, spawn


def main() -> None:
    phases.main()
    apply.main(3)
    spawn.main(10)
    burst.main(20)
    memory.main()


if __name__ == "__main__":
    main()
