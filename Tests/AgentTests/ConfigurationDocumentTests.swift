import Agent
import FoundationEssentials
import Testing

@Suite struct ConfigurationDocumentTests {
    private var document: String {
        get throws {
            let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
            return try String(contentsOfFile: "/\(root)/docs/configuration.md", encoding: .utf8)
        }
    }

    @Test("docs/configuration.md lists every setting as the table has it, and no other")
    func rows() throws {
        func cell(_ text: String) -> String { text.replacing("|", with: "\\|") }
        let expected = ConfigurationOption.all.map { option in
            "| `\(option.name)` | `\(cell(option.placeholder))` | \(cell(option.help)) | \(cell(option.standard)) | \(cell(option.allowed)) |"
        }
        let rows = try document.split(separator: "\n").map(String.init).filter { $0.hasPrefix("| `") }
        #expect(rows == expected, "the rows should be:\n\(expected.joined(separator: "\n"))")
    }
}
