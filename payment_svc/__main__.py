"""`python -m payment_svc`."""

from mesh.process import main
from payment_svc.app import application
from payment_svc.config import Settings

if __name__ == "__main__":
    main(service="payment", settings=Settings, application=application)
