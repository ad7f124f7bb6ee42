-- Whoever may make a table could otherwise put this trigger on one of his own, and forge what stands on clearing.
REVOKE EXECUTE ON FUNCTION keep_clearing() FROM PUBLIC;
