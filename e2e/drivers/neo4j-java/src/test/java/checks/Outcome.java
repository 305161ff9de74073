package checks;

import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.TestWatcher;

/** Prints a line for each check, as the runners of the other languages do. */
final class Outcome implements TestWatcher {
    @Override
    public void testSuccessful(ExtensionContext context) {
        print("passed", context);
    }

    @Override
    public void testFailed(ExtensionContext context, Throwable cause) {
        print("failed", context);
    }

    private static void print(String outcome, ExtensionContext context) {
        var method = context.getTestMethod().map(found -> found.getName()).orElse("");
        System.out.println("note: " + outcome + " " + method + " " + context.getDisplayName());
    }
}
