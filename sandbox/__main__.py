from mesh.process import main
from sandbox.app import application
from sandbox.config import SandboxSettings

if __name__ == "__main__":
    main(service="sandbox", settings=SandboxSettings, application=application)
