from gateway.app import application
from gateway.config import GatewaySettings
from mesh.process import main

if __name__ == "__main__":
    main(service="gateway", settings=GatewaySettings, application=application)
