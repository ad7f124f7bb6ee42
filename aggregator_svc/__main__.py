"""`python -m aggregator_svc`."""

from aggregator_svc.app import application
from aggregator_svc.config import Settings
from mesh.process import main

if __name__ == "__main__":
    main(service="aggregator", settings=Settings, application=application)
