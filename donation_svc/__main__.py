"""`python -m donation_svc`."""

from donation_svc.app import application
from donation_svc.config import Settings
from mesh.process import main

if __name__ == "__main__":
    main(service="donation", settings=Settings, application=application)
