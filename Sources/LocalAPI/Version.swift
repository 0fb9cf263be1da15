/// The one place of the version (semantic versioning 2.0.0).
package let tulleVersion = "0.2.0"
