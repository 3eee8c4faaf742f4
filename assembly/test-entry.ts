/** Insides of the storage half that its tests look at. Compiled into the test builds only. */
