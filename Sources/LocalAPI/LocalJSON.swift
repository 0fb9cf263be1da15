/// Reports as JSON: keys sorted, slashes as they are.
import FoundationEssentials
package import HTTP

package enum LocalJSON {
    /// - Parameter pretty: for people, over several lines and with a line feed at the end.
    package static func encode(_ value: some Encodable, pretty: Bool = false) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = pretty ? [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted] : [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value)) + (pretty ? [UInt8(ascii: "\n")] : [])
    }

    package static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
        try JSONDecoder().decode(type, from: Data(bytes))
    }
}

extension HTTPResponse {
    package static func report(_ value: some Encodable, status: Int = 200) throws -> HTTPResponse {
        .json(try LocalJSON.encode(value), status: status)
    }
}
